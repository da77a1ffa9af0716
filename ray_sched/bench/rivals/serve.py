"""Ray Serve, three ways: its handle as it is, its handle by value, and HTTP behind HAProxy or its Python proxy.

Written by Serve's own documentation: replicas by ``num_replicas`` with a bound on ongoing requests that nothing here
reaches, ``await handle.remote(audio)``, no access log ("Performance Tuning"), and HAProxy with
``RAY_SERVE_ENABLE_HA_PROXY=1`` ("Enable high throughput").
"""

import asyncio
import logging
from typing import Any, ClassVar

import aiohttp
import numpy as np
from ray import serve
from starlette.requests import Request

from ray_sched.bench.load import Echo, Samples, Supply, closed, open_loop
from ray_sched.bench.rivals.places import Place
from ray_sched.bench.rivals.plain import echo
from ray_sched.bench.serve_variables import free_ports, has_haproxy

_MAX_ONGOING = 1_000
_TITLES = ("ray::Serve", "ray::Proxy", "ray::HAProxy", "haproxy")


class ServeEcho:
    """The deployment."""

    async def __call__(self, audio: Samples) -> str:
        """Called by a handle."""
        return echo(audio)


class ServeHttpEcho:
    """The deployment behind HTTP."""

    async def __call__(self, request: Request) -> str:
        """Called by the proxy, or by HAProxy itself."""
        return echo(np.frombuffer(await request.body(), np.int16))


class ServeRival:
    """The handle as it is: an argument of 160 KB goes through the object store."""

    name = "serve"
    titles: tuple[str, ...] = _TITLES
    note = "Serve's DeploymentHandle, default options"
    deployment: ClassVar[type] = ServeEcho
    options: ClassVar[dict[str, Any]] = {}
    port = 0

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._handle: Any = None

    async def start(self) -> None:
        """One replica on each place; Serve itself is started by the first of these rivals."""
        _start_serve()
        app = serve.deployment(
            num_replicas=len(self._places),
            max_ongoing_requests=_MAX_ONGOING,
            logging_config={"enable_access_log": False},
            **self._placed(),
        )(self.deployment)
        route = f"/{self.name}" if self.deployment is ServeHttpEcho else None
        handle = await asyncio.to_thread(serve.run, app.bind(), name=self.name, route_prefix=route)
        self._handle = handle.options(**self.options) if self.options else handle

    def _placed(self) -> dict[str, Any]:
        options: dict[str, Any] = {"num_cpus": 0}
        if len(set(self._places)) == len(self._places):
            return {"ray_actor_options": options, "max_replicas_per_node": 1}
        return {"ray_actor_options": options | {"label_selector": {"ray.io/node-id": self._places[0]}}}

    async def _echo(self, audio: Samples) -> str:
        text: str = await self._handle.remote(audio)
        return text

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """One awaited response per job."""
        await closed(self._echo, supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """The same."""
        await open_loop(self._echo, supply, per_s)

    async def stop(self) -> None:
        """Nothing: Serve would wait half a minute for requests that may still come; it ends with the cluster."""


class ServeValueRival(ServeRival):
    """The handle by value: arguments go in the request itself."""

    name = "serve-value"
    note = "Serve's DeploymentHandle with _by_reference=False"
    options: ClassVar[dict[str, Any]] = {"_by_reference": False}


class ServeHttpRival(ServeRival):
    """HTTP: POST with the audio as the body, over connections that are kept."""

    name = "serve-http"
    note = "Serve over HTTP behind " + ("HAProxy" if has_haproxy() else "its Python proxy, for want of a haproxy")
    deployment: ClassVar[type] = ServeHttpEcho

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """One connection for each job in flight."""
        async with self._session() as session:
            await closed(_post(session), supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """As many connections as it takes."""
        async with self._session() as session:
            await open_loop(_post(session), supply, per_s)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://127.0.0.1:{ServeRival.port}", connector=aiohttp.TCPConnector(limit=0))


def _post(session: aiohttp.ClientSession) -> Echo:
    async def post(audio: Samples) -> str:
        async with session.post(f"/{ServeHttpRival.name}", data=audio.tobytes()) as response:
            response.raise_for_status()
            return await response.text()

    return post


def _start_serve() -> None:
    if ServeRival.port:
        return
    (ServeRival.port,) = free_ports(1)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": ServeRival.port},
        logging_config={"enable_access_log": False},
    )
