"""Gateways as actors ``gateway:0``, ``gateway:1`` and so on: one on each node that is asked for, all alike."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from ray_sched.core.capability import LABEL_PREFIX
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import Settings
from ray_sched.system.processes import METRICS_MS, begin
from ray_sched.system.ray_calls import call_ray
from ray_sched.system.ray_meter import RayMeter
from ray_sched.system.table import GATEWAY, ControlNode, make_actor
from ray_sched.wire.keep_up import keep_up

if TYPE_CHECKING:
    from ray_sched.gateway.gateway import Gateway

_ANSWER_S = 60.0


class GatewayProcess:
    """Actor ``gateway:<n>``. One that has died is started again by Ray, and listens where it did."""

    # Ray awaits a coroutine __init__ before it serves a call; a refusal waits for who asks for the address.
    async def __init__(self, settings: Settings, where: str, drain_s: float) -> None:  # type: ignore[misc]  # see above
        begin()
        self._refusal: SchedError | None = None
        self._until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._serving: asyncio.Future[None] | None = None
        self._url = ""
        try:
            self._begin_serving(settings, where, drain_s)
        except ImportError as error:
            sentence = f"a gateway needs {error.name}; on its node run: pip install 'ray-sched[gateway]'"
            self._refusal = SchedError(Code.MISSING_PART, sentence)
        except SchedError as error:
            self._refusal = error

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return str(ray.get_runtime_context().get_actor_name() or GATEWAY)

    def _begin_serving(self, settings: Settings, where: str, drain_s: float) -> None:
        from ray_sched.gateway.serving import listen, serve  # noqa: PLC0415  # the extra may not be installed
        from ray_sched.system.gateway_app import make_gateway  # noqa: PLC0415

        listening = listen(where, has_tokens=bool(settings.gateway.token_hashes))
        host, port = listening.getsockname()[:2]
        self._url = f"http://{host}:{port}"
        gateway = make_gateway(settings)
        self._serving = asyncio.ensure_future(serve(gateway, listening, self._until, drain_s))
        if settings.observe.metrics:
            self._writing = asyncio.create_task(keep_up("writing metrics", partial(_write_metrics, gateway)))

    async def url(self) -> str:
        """Where it listens. Raises SchedError if it does not."""
        if self._refusal:
            raise self._refusal
        return self._url

    async def drain(self) -> None:
        """Take nothing new; returns when what is being answered has been, or has taken too long."""
        if not self._until.done():
            self._until.set_result(0)
        if self._serving:
            await asyncio.wait([self._serving])


async def _write_metrics(gateway: "Gateway") -> None:
    """Export what this gateway counts, for ever; it gets no ticks."""
    meter = RayMeter()
    while True:
        await asyncio.sleep(METRICS_MS / 1000)
        gateway.meters.look(gateway.limits)
        meter.write(gateway.meters.samples())


async def start_gateways(settings: Settings, where: str, drain_s: float) -> list[str]:
    """One on each node of ``gateway.nodes``, or on this one; returns where each listens. Raises SchedError."""
    node_ids = await call_ray(_node_ids, settings.gateway.nodes)
    names = [f"{GATEWAY}:{n}" for n in range(len(node_ids))]
    handles = [
        make_actor(
            GATEWAY, GatewayProcess, name, settings.namespace, ControlNode(node_id, is_strict=True).strategy(),
            settings, where, drain_s,
        )
        for name, node_id in zip(names, node_ids, strict=True)
    ]  # fmt: skip
    return [await _url(handle, name) for handle, name in zip(handles, names, strict=True)]


async def _url(handle: Any, name: str) -> str:
    try:
        async with asyncio.timeout(_ANSWER_S):
            return str(await handle.url.remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SchedError):
            raise error.cause from None
        raise
    except TimeoutError:
        raise SchedError(
            Code.SCHEDULER_NOT_RUNNING, f"{name} has not begun within {_ANSWER_S:g} s; look at its log"
        ) from None


def _node_ids(names: tuple[str, ...]) -> list[str]:
    """Ray's ids of these nodes, by their label, name or address; of this one if there are none."""
    if not names:
        return [ray.get_runtime_context().get_node_id()]
    known: dict[str, str] = {}
    for node in ray.nodes():
        if node["Alive"]:
            labels = node.get("Labels") or {}
            for name in (labels.get(f"{LABEL_PREFIX}node"), node.get("NodeName"), node.get("NodeManagerAddress")):
                known.setdefault(str(name), node["NodeID"])
    for name in names:
        if name not in known:
            raise SchedError(Code.UNKNOWN_NODE, f"gateway.nodes names {name!r}, and no node is called so")
    return [known[name] for name in names]
