"""Where a trial takes place: several raylets on this machine, and on them either the scheduler or one rival."""

import importlib
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct

from ray_sched.bench.bare import BARE
from ray_sched.bench.contest import Contestant, EngineLoad, Notify
from ray_sched.bench.own_contestant import OWN, InCallContestant, OwnContestant
from ray_sched.bench.report import missing_extra
from ray_sched.bench.serve_variables import serve_variables
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import Settings, StoreRules
from ray_sched.system.local import LocalCluster, LocalNode, prepare_environment
from ray_sched.system.ray_session import connect_ray, disconnect_ray
from ray_sched.system.running import RunOptions, running
from ray_sched.system.start import Scheduler

_SERVE, _PLAIN, _RAW = (f"ray_sched.bench.rivals.{module}" for module in ("serve", "plain", "raw"))
_OWN = "ray_sched.bench.own_contestant"
RIVALS = {
    InCallContestant.name: (_OWN, "InCallContestant"),
    "serve": (_SERVE, "ServeRival"),
    "serve-value": (_SERVE, "ServeValueRival"),
    "serve-http": (_SERVE, "ServeHttpRival"),
    "serve-tuned": (_SERVE, "ServeTunedRival"),
    "serve-http-tuned": (_SERVE, "ServeHttpTunedRival"),
    "actorpool": (_PLAIN, "ActorPoolRival"),
    "tasks": (_PLAIN, "TasksRival"),
    "raw": (_RAW, "RawRival"),
}
ENGINE_RIVALS = {"serve-batch": ("ray_sched.bench.rivals.serve_engine", "ServeBatchRival")}
"""Of an engine with a model; the others echo."""

_NEVER = 101.0
_MANY = 1_000_000
_LONGEST_WAIT_MS = 600_000
"""A closed load waits for whatever is in flight, however slow the model: no rival gives a job up either."""
_NAMESPACE = "rivals"


class EnvironmentPlan(Struct, frozen=True, kw_only=True):
    """What to start."""

    nodes: int
    slots: int
    """Of the scheduler, on each node."""
    is_together: bool = False
    """A rival's actors are all on the submitter's node instead of one on each."""
    object_store_mb: int = 512
    """Of each node."""
    engine: EngineLoad | None = None
    """What runs; None: the echo."""


def check_rivals(names: Sequence[str], known: Iterable[str] = RIVALS) -> None:
    """Raise INVALID_CONFIGURATION for a name that is unknown, MISSING_PART if something is not installed."""
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"there is nothing called {unknown[0]!r} to compare with; known are {', '.join(known)}"
        raise SchedError(Code.INVALID_CONFIGURATION, message)
    missing = [package for package in ("starlette", "fastapi", "grpc_reflection") if find_spec(package) is None]
    if missing and any(name.startswith("serve") for name in names):
        raise missing_extra("comparing with Ray Serve", "ray[serve]")


@asynccontextmanager
async def isolated_contestant(
    settings: Settings, plan: EnvironmentPlan, name: str, notify: Notify
) -> AsyncIterator[Contestant]:
    """A cluster with nothing on it but this contestant, started. Nothing is left afterwards."""
    if name in OWN:
        async with isolated_scheduler(settings, plan, notify, OWN[name]) as (_, own):
            yield own
        return
    if name in BARE and plan.engine:
        bare = BARE[name](plan.engine)
        notify(f"starting {name}: {bare.note}")
        await bare.start()
        yield bare
        await bare.stop()
        return
    async with AsyncExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray_sched-b-"))
        connect_ray(_cluster(plan, stack, serve_variables(name, home), notify), _NAMESPACE)
        stack.callback(disconnect_ray)
        rival = _rival(name, plan)
        notify(f"starting {name}: {rival.note}")
        await rival.start()
        stack.push_async_callback(rival.stop)
        yield rival


@asynccontextmanager
async def isolated_scheduler(
    settings: Settings, plan: EnvironmentPlan, notify: Notify, kind: type[OwnContestant] = OwnContestant
) -> AsyncIterator[tuple[Scheduler, OwnContestant]]:
    """The same with the scheduler, and a client that has joined it."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray_sched-b-"))
        address = _cluster(plan, stack, {}, notify)
        own_home = own_settings(settings, Path(home))
        if plan.engine:
            options = plan.engine.options | kind.engine_options
            own_home = own_home.model_copy(update={"engines": {plan.engine.name: options}})
        scheduler = await stack.enter_async_context(running(own_home, RunOptions(address=address, drain_s=0), notify))
        await scheduler.wait_for_nodes(plan.nodes)
        own = kind(own_home)
        await own.start()
        stack.push_async_callback(own.stop)
        yield scheduler, own


def own_settings(settings: Settings, home: Path) -> Settings:
    """The user's settings, but for a cluster of its own on one machine whose load is no sign of any node's."""
    dispatch = replace(
        settings.dispatch,
        max_waiting_jobs=_MANY,
        max_waiting_jobs_per_session=_MANY,
        pending_timeout_ms=_LONGEST_WAIT_MS,
    )
    return settings.model_copy(
        update={
            "address": "",
            "data_dir": home,
            "store": StoreRules(),
            "dispatch": dispatch,
            "pools": replace(settings.pools, cpu_threshold_percent=_NEVER, memory_threshold_percent=_NEVER),
        }
    )


def _cluster(plan: EnvironmentPlan, stack: AsyncExitStack, variables: Mapping[str, str], notify: Notify) -> str:
    """The address of a cluster that ends with the stack: the same one, and the same settings of Ray, for everybody."""
    engine = plan.engine.name if plan.engine else "echo"
    labels = {"engine": engine, "asr": "en", "slots": str(plan.slots)}
    nodes = [LocalNode(labels=labels | {"node": f"node-{n + 1}"}) for n in range(plan.nodes)]
    prepare_environment(guests=variables)
    cluster = LocalCluster(nodes, plan.object_store_mb, is_head_a_node=True)
    stack.callback(cluster.stop)
    notify(f"starting a cluster of {plan.nodes} nodes")
    return cluster.start()


def _rival(name: str, plan: EnvironmentPlan) -> Any:
    from ray_sched.bench.rivals import places  # noqa: PLC0415  # imports Ray, which reads its environment then

    where = (places.together if plan.is_together else places.spread)(plan.nodes)
    module, kind = (RIVALS | ENGINE_RIVALS)[name]
    make = getattr(importlib.import_module(module), kind)
    return make(where, plan.engine) if name in ENGINE_RIVALS else make(where)
