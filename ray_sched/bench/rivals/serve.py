"""Ray Serve: its handle as it is, its handle by value, HTTP behind HAProxy or its Python proxy, and both tuned.

Written by Serve's own documentation: replicas by ``num_replicas`` with a bound on ongoing requests that nothing here
reaches, ``await handle.remote(audio)``, no access log, no proxies where nobody uses them, HAProxy with
``RAY_SERVE_ENABLE_HA_PROXY=1``, and the flags of "Enable throughput-optimized flags" (``serve_variables``) where a
contestant is called tuned. These flags are for code that never blocks its event loop, as this echo does not.
"""

import asyncio
import logging
from typing import Any, ClassVar

import aiohttp
import numpy as np
from ray import serve
from starlette.requests import Request

from ray_sched.bench.load import Awaited
from ray_sched.bench.rivals.places import Place
from ray_sched.bench.rivals.plain import echo
from ray_sched.bench.serve_variables import free_ports, has_haproxy
from ray_sched.wire.samples import Samples

_MAX_ONGOING = 1_000
_NO_ACCESS_LOG = {"enable_access_log": False}


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


class ServeRival(Awaited):
    """The handle as it is: an argument of 160 KB goes through the object store."""

    name = "serve"
    note = "Serve's DeploymentHandle, default options"
    deployment: ClassVar[type] = ServeEcho
    options: ClassVar[dict[str, Any]] = {}
    proxies: ClassVar[str] = "Disabled"
    route: ClassVar[str | None] = None

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._handle: Any = None
        (self.port,) = free_ports(1)

    async def start(self) -> None:
        """Serve, and one replica on each place."""
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(
            proxy_location=self.proxies,
            http_options={"host": "127.0.0.1", "port": self.port},
            logging_config=_NO_ACCESS_LOG,
        )
        app = serve.deployment(
            num_replicas=len(self._places),
            max_ongoing_requests=_MAX_ONGOING,
            logging_config=_NO_ACCESS_LOG,
            **self._placed(),
        )(self.deployment)
        handle = await asyncio.to_thread(serve.run, app.bind(), name=self.name, route_prefix=self.route)
        self._handle = handle.options(**self.options) if self.options else handle

    def _placed(self) -> dict[str, Any]:
        options: dict[str, Any] = {"num_cpus": 0}
        if len(set(self._places)) == len(self._places):
            return {"ray_actor_options": options, "max_replicas_per_node": 1}
        return {"ray_actor_options": options | {"label_selector": {"ray.io/node-id": self._places[0]}}}

    async def echo(self, audio: Samples) -> str:
        """One awaited response."""
        text: str = await self._handle.remote(audio)
        return text

    async def stop(self) -> None:
        """Nothing: Serve would wait half a minute for requests that may still come; it ends with the cluster."""


class ServeValueRival(ServeRival):
    """The handle by value: arguments go in the request itself."""

    name = "serve-value"
    note = "Serve's DeploymentHandle with _by_reference=False"
    options: ClassVar[dict[str, Any]] = {"_by_reference": False}


class ServeHttpRival(ServeRival):
    """HTTP: POST with the audio as the body, over connections that are kept, as many as jobs are in flight."""

    name = "serve-http"
    note = "Serve over HTTP behind " + ("HAProxy" if has_haproxy() else "its Python proxy, for want of a haproxy")
    deployment: ClassVar[type] = ServeHttpEcho
    proxies: ClassVar[str] = "HeadOnly"
    route: ClassVar[str | None] = "/echo"

    async def start(self) -> None:
        """A session of HTTP, too."""
        await super().start()
        url, no_limit = f"http://127.0.0.1:{self.port}", aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(url, connector=no_limit)

    async def echo(self, audio: Samples) -> str:
        """One awaited response."""
        async with self._session.post("/echo", data=audio.tobytes()) as response:
            response.raise_for_status()
            return await response.text()

    async def stop(self) -> None:
        """Close the connections."""
        await self._session.close()


class ServeTunedRival(ServeRival):
    """The handle with the flags: the default handle's argument goes in the request then, over gRPC."""

    name = "serve-tuned"
    note = "Serve's DeploymentHandle with RAY_SERVE_THROUGHPUT_OPTIMIZED=1"


class ServeHttpTunedRival(ServeHttpRival):
    """HTTP with the flags."""

    name = "serve-http-tuned"
    note = f"{ServeHttpRival.note}, with RAY_SERVE_THROUGHPUT_OPTIMIZED=1"
