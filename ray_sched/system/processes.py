"""What each actor's process is made of: the plain class, given its brain, its store and its peers.

These are the classes that become Ray actors. Their arguments cross processes, so they are settings and messages.

Whoever calls an actor imports its class, and with it this module: every actor, client and command. So what only the
actor itself is made of is imported in its constructor.
"""

import asyncio
import gc
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_sched.actors.dispatcher import Dispatcher, DispatcherOptions
from ray_sched.actors.journalling import WriteRows
from ray_sched.actors.node_registry import NodeRegistry
from ray_sched.actors.pool import Pool
from ray_sched.actors.timer import Timer
from ray_sched.agent.agent import NodeAgent
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.errors import SchedError
from ray_sched.core.nodes.declarations import Held, RayNode
from ray_sched.core.nodes.effects import SpawnAgent
from ray_sched.core.nodes.profiles import Profile
from ray_sched.core.timers import Tick
from ray_sched.observe.samples import Sample
from ray_sched.settings import Settings, environment, visible_gpus_variable
from ray_sched.system.allocator import keep_memory
from ray_sched.system.profiles import read_node_profile
from ray_sched.system.ray_meter import RayMeter
from ray_sched.system.ray_peers import RayDirectory
from ray_sched.system.table import AGENT, DISPATCHER, POOL, REGISTRY, ControlNode, make_actor
from ray_sched.wire.auth import agent_key, pool_key
from ray_sched.wire.clock import Clock
from ray_sched.wire.keep_up import keep_up
from ray_sched.wire.peers import PeerUnavailableError
from ray_sched.wire.plain_log import log_plainly

if TYPE_CHECKING:
    from ray_sched.agent.engine_run import Host
    from ray_sched.agent.host import EngineHost
    from ray_sched.store.redis_store import RedisStore

_SWEEP_MS = 100
_STORE_MS = 1_000
METRICS_MS = 2_000
"""Ray exports every 10 s what was set since, so that each value is there though a tick or two are lost."""
_JOURNAL_MS = 500
_DAY_S = 86_400
_NOTHING_HELD = Held()


def begin() -> None:
    """What every process does first: it logs, and its garbage collector looks rarely at what does not change.

    Jobs are freed by their reference counts; with the collector's own thresholds a sixth of the CPU goes into looking
    at them again and again, and every full look is a pause that grows with the jobs that are kept.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    keep_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    log_plainly()


def _journal(settings: Settings) -> WriteRows | None:
    from ray_sched.store.journal import Journal

    rules = settings.observe
    if not rules.journal:
        return None
    return Journal(settings.data_dir / "journal", rules.journal_mb * 2**20, rules.journal_files).write


def _store(settings: Settings, redis_url: str, actor: str) -> "RedisStore":
    from ray_sched.store.redis_store import RedisStore

    keep_s = settings.cleanup.keep_ms // 1000 + _DAY_S
    return RedisStore(redis_url, settings.store.prefix, settings.store.timeout_ms / 1000, keep_s, actor)


class DispatcherProcess(Dispatcher):
    """Actor ``dispatcher``."""

    # Ray awaits a coroutine __init__ before it serves a call, and restoring has to come before every call.
    async def __init__(self, settings: Settings, redis_url: str, secret: bytes) -> None:  # type: ignore[misc]  # see above
        from ray_sched.core.dispatch.brain import DispatchBrain
        from ray_sched.system.policies import find_policy

        begin()
        epoch = f"{Clock().now_ms():x}"
        super().__init__(
            DispatchBrain(
                epoch,
                settings.dispatch,
                settings.delivery,
                settings.selection,
                policy=find_policy(settings.selection.policy),
            ),
            _store(settings, redis_url, DISPATCHER),
            RayDirectory(settings.namespace),
            DispatcherOptions(
                epoch=epoch,
                cleanup=settings.cleanup,
                store_wait_s=settings.store.timeout_ms / 1000,
                secret=secret,
                write_samples=RayMeter().write,
                write_journal=_journal(settings),
            ),
        )
        await self.restore()


class RegistryProcess(NodeRegistry):
    """Actor ``registry``."""

    # As the Dispatcher's: what is stored is known before the first call.
    async def __init__(  # type: ignore[misc]  # as there
        self, settings: Settings, redis_url: str, control_node: ControlNode, secret: bytes
    ) -> None:
        from ray_sched.core.nodes.registry import RegistryBrain

        begin()
        super().__init__(
            brain=RegistryBrain(Clock().now_ms(), settings.nodes, settings.pools, settings.profiles),
            store=_store(settings, redis_url, REGISTRY),
            directory=RayDirectory(settings.namespace),
            cluster=RayCluster(settings, control_node, secret),
            secret=secret,
            write_samples=RayMeter().write,
        )
        await self.restore()


class PoolProcess(Pool):
    """Actor ``pool:<capability>``."""

    def __init__(self, settings: Settings, name: str, key: bytes) -> None:
        from ray_sched.core.leases.pool import PoolBrain

        begin()
        brain = PoolBrain(name.removeprefix("pool:"), Clock().now_ms(), settings.pools)
        super().__init__(brain, RayDirectory(settings.namespace), key)


class TimerProcess(Timer):
    """Actor ``timer``."""

    def __init__(self, settings: Settings) -> None:
        begin()
        ticks = [
            Tick("dispatcher", "sweep", _SWEEP_MS),
            Tick("dispatcher", "cleanup", settings.cleanup.every_ms),
            Tick("dispatcher", "store", _STORE_MS),
            Tick("registry", "poll", settings.nodes.poll_ms),
            Tick("registry", "watch", settings.nodes.poll_ms),
            Tick("registry", "store", _STORE_MS),
        ]
        if settings.observe.metrics:
            ticks += [Tick("dispatcher", "metrics", METRICS_MS), Tick("registry", "metrics", METRICS_MS)]
        if settings.observe.journal:
            ticks.append(Tick("dispatcher", "journal", _JOURNAL_MS))
        super().__init__(ticks, RayDirectory(settings.namespace))


class AgentProcess(NodeAgent):
    """Actor ``agent:<node>``."""

    def __init__(self, settings: Settings, spawn: SpawnAgent, key: bytes) -> None:
        from ray_sched.agent.host import EngineHost
        from ray_sched.agent.load import GpuShare, LoadMeter

        begin()
        host = _host(settings, spawn)
        super().__init__(
            AgentOptions(
                node=spawn.node,
                incarnation=spawn.incarnation,
                slots=spawn.slots,
                key=key,
                offer=spawn.offer,
                pid=os.getpid(),
            ),
            host=host,
            directory=RayDirectory(settings.namespace),
            heartbeat_ms=settings.nodes.heartbeat_ms,
            end_process=_end_process,
            make_meter=partial(LoadMeter, GpuShare(visible_gpus_variable(), spawn.held.gpus >= 1)),
        )
        if settings.observe.metrics and isinstance(host, EngineHost):
            passes = keep_up("writing the sizes of passes", partial(_write_passes, spawn.engine, host))
            self._background.append(asyncio.create_task(passes))


async def _write_passes(engine: str, host: "EngineHost") -> None:
    """Export the passes of an engine that gathers runs, for ever. Agents get no ticks."""
    meter = RayMeter()
    while True:
        await asyncio.sleep(METRICS_MS / 1000)
        if host.is_batched:
            meter.write([Sample("pass_runs", (engine,), host.pass_sizes)])


def _host(settings: Settings, spawn: SpawnAgent) -> "Host":
    """The engine with its options: a node's labels go before what the settings say of it, and of its engine."""
    from ray_sched.agent.failed_host import FailedHost
    from ray_sched.agent.host import EngineHost
    from ray_sched.agent.machine import this_machine

    told = settings.engines.get(spawn.engine, {}) | settings.engines.get(spawn.node, {})
    try:
        machine = this_machine(environment())
        return EngineHost(spawn.engine, spawn.declared, told | spawn.options, spawn.slots, machine)
    except SchedError as error:
        return FailedHost(error)


def _end_process() -> None:
    """End this actor's process at once; the kernel ends its engines with it."""
    os._exit(0)


class RayCluster:
    """What the Registry needs of Ray."""

    def __init__(self, settings: Settings, control_node: ControlNode, secret: bytes) -> None:
        self._secret = secret
        self._settings = settings
        self._control_node = control_node

    async def nodes(self) -> list[RayNode]:
        """Every node Ray knows. Raises PeerUnavailableError while the GCS is away."""
        try:
            return await asyncio.to_thread(_ray_nodes)
        except (ray.exceptions.RayError, RuntimeError, OSError) as error:
            raise PeerUnavailableError(f"{type(error).__name__}: {error}") from error

    async def spawn_agent(self, spawn: SpawnAgent) -> None:
        """Start an agent on its node."""
        strategy = NodeAffinitySchedulingStrategy(spawn.ray_node_id, soft=False)
        key = agent_key(self._secret, spawn.node, spawn.incarnation)
        args = (self._settings, spawn, key)
        await asyncio.to_thread(self._make, AGENT, AgentProcess, spawn.agent, strategy, *args, held=spawn.held)

    async def read_profile(self, ray_node_id: str, profile: str) -> Profile:
        """A profile out of the file on that node."""
        return await read_node_profile(ray_node_id, profile, self._settings.nodes.profiles_file)

    async def open_pool(self, pool: str) -> None:
        """Start a pool's actor, if there is none."""
        strategy = self._control_node.strategy()
        key = pool_key(self._secret, pool.removeprefix("pool:"))
        await asyncio.to_thread(self._make, POOL, PoolProcess, pool, strategy, self._settings, pool, key)

    async def end_actor(self, name: str) -> None:
        """End an actor's process, whatever it is doing."""
        await asyncio.to_thread(kill_actor, name, self._settings.namespace)

    def _make(
        self, kind: str, cls: type, name: str, strategy: object, *args: object, held: Held = _NOTHING_HELD
    ) -> None:
        try:
            make_actor(kind, cls, name, self._settings.namespace, strategy, *args, held=held)
        except ValueError as error:
            if kind == POOL:  # it outlived the Registry that opened it
                return
            raise PeerUnavailableError(f"the name {name} is still taken: {error}") from None


def kill_actor(name: str, namespace: str) -> bool:
    """End a named actor for good. False if there is none."""
    try:
        handle = ray.get_actor(name, namespace=namespace)
    except ValueError:
        return False
    ray.kill(handle, no_restart=True)
    return True


def _ray_nodes() -> list[RayNode]:
    draining = ray._private.state.state.get_draining_nodes()  # noqa: SLF001  # Ray has no public list of them
    now_ms = Clock().now_ms()
    return [
        RayNode(
            ray_node_id=node["NodeID"],
            labels=node.get("Labels") or {},
            cpus=node.get("Resources", {}).get("CPU", 0.0),
            gpus=node.get("Resources", {}).get("GPU", 0.0),
            is_alive=bool(node["Alive"]),
            is_draining=node["NodeID"] in draining,
            drain_ends_in_ms=max(ends_at_ms - now_ms, 0) if (ends_at_ms := draining.get(node["NodeID"])) else None,
        )
        for node in ray.nodes()
    ]
