"""Every kind of harm: how it is done, how it ends, how the scheduler shows that it knows, and when all is whole again.

Real processes are killed and stopped, real cables are pulled. Nothing here judges; :mod:`tests.chaos.oracle` does.
"""

import asyncio
import os
import random
import signal
from typing import ClassVar, Literal, Protocol

import psutil

from ray_sched.core.errors import SchedError
from ray_sched.core.job import JobStatus
from ray_sched.settings import Settings
from ray_sched.system.start import Scheduler
from tests.chaos.site import Site, freeze, thaw
from tests.chaos.watch import Actor, Watch, actor_of
from tests.support.processes import engines_of, redis_server

_DRAIN_S = 30.0
_GONE_S = 60.0


class Submitters(Protocol):
    """The speakers in processes of their own."""

    def current(self) -> str:
        """The name of the one that speaks."""
        ...

    async def kill(self) -> None:
        """Kill it; the oracle is told."""
        ...

    async def start(self) -> None:
        """Start the next one."""
        ...

    def jobs_in_vain(self, name: str) -> list[str]:
        """Jobs of it that only its death ends."""
        ...


class Environment:
    """What faults are done to."""

    def __init__(
        self,
        site: Site,
        scheduler: Scheduler,
        watch: Watch,
        submitters: Submitters,
        settings: Settings,
        rng: random.Random,
    ) -> None:
        self.site = site
        self.scheduler = scheduler
        self.watch = watch
        self.submitters = submitters
        self.rng = rng
        self.data_dir = settings.data_dir
        self._namespace = settings.namespace

    def actor(self, name: str) -> Actor:
        """A control actor or an agent, by Ray's books."""
        return actor_of(name, self._namespace)


class Fault:
    """One harm to one target. Made when it is due; ``harm``, then ``heal`` after ``lasts_s``."""

    shortest_s: ClassVar[float] = 0.0
    longest_s: ClassVar[float] = 0.0
    counts_from: ClassVar[Literal["before", "after"]] = "before"
    """Times count from before the harm, or from after one that itself takes long."""

    def __init__(self, environment: Environment, target: str) -> None:
        self.environment = environment
        self.watch = environment.watch
        self.target = target
        self.lasts_s = environment.rng.uniform(self.shortest_s, self.longest_s)

    async def harm(self) -> None:
        """Do it."""
        raise NotImplementedError

    async def heal(self) -> None:
        """End it, or put right what an operator would."""

    def is_noticed(self) -> bool:
        """The scheduler shows that it knows."""
        raise NotImplementedError

    def is_whole(self) -> bool:
        """The target is as good as before."""
        raise NotImplementedError


class NodeFault(Fault):
    """Harm to a machine. It is noticed when the node is no longer ready, and whole when it is ready again."""

    def __init__(self, environment: Environment, target: str) -> None:
        super().__init__(environment, target)
        self.machine = environment.site.machines[target]
        self.before = self.watch.incarnation_of(target)

    def is_noticed(self) -> bool:
        """Not ready, or the next incarnation already."""
        row = self.watch.rows.get(self.target)
        return row is not None and (row.status != "ready" or row.incarnation > self.before)

    def is_lost(self) -> bool:
        """Given up: its jobs go elsewhere."""
        row = self.watch.rows.get(self.target)
        return row is not None and (row.status == "lost" or row.incarnation > self.before)

    def is_whole(self) -> bool:
        """Ready, in a new life if it lost the old one."""
        return self.watch.status_of(self.target) == "ready"

    async def restart_raylet(self, *, is_graceful: bool = False) -> None:
        """What a supervisor does: a new raylet on the same machine."""
        await self.environment.site.power_off(self.target, is_graceful=is_graceful)
        await self.environment.site.power_on(self.target)

    async def restart_if_dead(self) -> None:
        """A raylet that hears that it was given up ends itself; one that was not away for long goes on."""
        if not self.is_lost():
            await self.watch.until(lambda: self.is_lost() or self.is_whole(), _GONE_S)
        ended = await self.watch.until(lambda: self.machine.raylet_process() is None or self.is_whole(), _GONE_S)
        if ended is None or self.machine.raylet_process() is None:
            await self.restart_raylet()


class KillAgent(NodeFault):
    """SIGKILL to the agent's process."""

    async def harm(self) -> None:
        """See the class."""
        os.kill(self.environment.actor(f"agent:{self.target}").pid, signal.SIGKILL)

    def is_whole(self) -> bool:
        """Only a new incarnation is."""
        return super().is_whole() and self.watch.incarnation_of(self.target) > self.before


class KillRaylet(NodeFault):
    """SIGKILL to the raylet; the machine is started again later, as a new Ray node."""

    shortest_s, longest_s = 1.0, 4.0

    async def harm(self) -> None:
        """See the class."""
        raylet = self.machine.raylet_process()
        if raylet:
            raylet.kill()

    async def heal(self) -> None:
        """See the class."""
        await self.restart_raylet()

    def is_whole(self) -> bool:
        """Only a new incarnation is."""
        return super().is_whole() and self.watch.incarnation_of(self.target) > self.before


class FreezeAgent(NodeFault):
    """SIGSTOP to the agent's process, which the Registry then ends."""

    shortest_s, longest_s = 4.0, 8.0

    async def harm(self) -> None:
        """See the class."""
        self.process = psutil.Process(self.environment.actor(f"agent:{self.target}").pid)
        freeze([self.process])

    async def heal(self) -> None:
        """See the class."""
        thaw([self.process])


class FreezeRaylet(NodeFault):
    """SIGSTOP to the raylet and all that runs on its machine."""

    shortest_s, longest_s = 4.0, 8.0

    async def harm(self) -> None:
        """See the class."""
        self.processes = self.machine.processes
        freeze(self.processes)

    async def heal(self) -> None:
        """See the class."""
        thaw(self.processes)
        await self.restart_if_dead()


class Cut(NodeFault):
    """The cable of the machine is pulled."""

    shortest_s, longest_s = 4.0, 8.0

    async def harm(self) -> None:
        """See the class."""
        self.environment.site.network.cut(self.target)

    async def heal(self) -> None:
        """See the class."""
        self.environment.site.network.heal(self.target)
        await self.restart_if_dead()


class Drain(NodeFault):
    """The node is drained, goes, and its machine comes back as a new one: a rolling upgrade."""

    async def harm(self) -> None:
        """See the class."""
        await self.environment.scheduler.drain_node(self.target, _DRAIN_S)

    async def heal(self) -> None:
        """See the class."""
        await self.watch.until(lambda: self.watch.status_of(self.target) in ("gone", "lost", ""), _GONE_S)
        await self.restart_raylet(is_graceful=True)

    def is_whole(self) -> bool:
        """Only a new incarnation is."""
        return super().is_whole() and self.watch.incarnation_of(self.target) > self.before


class Add(NodeFault):
    """A machine joins; once it is ready it works for a while, is drained and goes."""

    counts_from = "after"

    async def harm(self) -> None:
        """See the class."""
        await self.environment.site.power_on(self.target)

    def is_noticed(self) -> bool:
        """It is in the Registry's list, in a new life."""
        return self.watch.incarnation_of(self.target) > self.before

    def is_whole(self) -> bool:
        """It is ready."""
        return self.is_noticed() and super().is_whole()

    async def leave(self) -> None:
        """Work for a while, then be drained and go."""
        await asyncio.sleep(self.environment.rng.uniform(3, 8))
        try:
            await self.environment.scheduler.drain_node(self.target, _DRAIN_S)
        except SchedError:
            return
        await self.watch.until(lambda: self.watch.status_of(self.target) in ("gone", "lost", ""), _GONE_S)
        await self.environment.site.power_off(self.target, is_graceful=True)


class KillEngine(Fault):
    """SIGKILL to the process of one slot's engine. Noticed when another has taken its place."""

    def __init__(self, environment: Environment, target: str) -> None:
        super().__init__(environment, target)
        self.agent_pid = environment.actor(f"agent:{target}").pid
        self.victim = 0

    async def harm(self) -> None:
        """See the class."""
        engines = engines_of(self.agent_pid)
        victim = self.environment.rng.choice(engines) if engines else None
        if victim:
            self.victim = victim.pid
            victim.kill()

    def is_noticed(self) -> bool:
        """All slots have an engine, and it is not the victim."""
        pids = {engine.pid for engine in engines_of(self.agent_pid)}
        return self.victim not in pids and len(pids) >= self.environment.site.machines[self.target].slots

    def is_whole(self) -> bool:
        """The node is ready; the probe does the rest."""
        return self.is_noticed() and self.watch.status_of(self.target) == "ready"


class KillActor(Fault):
    """SIGKILL to a control actor, which Ray starts again."""

    def __init__(self, environment: Environment, target: str) -> None:
        super().__init__(environment, target)
        self.name = target
        if target == "pool":
            pools = sorted({row.pool for row in environment.watch.rows.values() if row.pool})
            self.name = f"pool:{environment.rng.choice(pools)}"
        self.pid = 0

    async def harm(self) -> None:
        """See the class."""
        self.pid = self.environment.actor(self.name).pid
        os.kill(self.pid, signal.SIGKILL)

    def is_noticed(self) -> bool:
        """Ray has begun to start it again."""
        actor = self.environment.actor(self.name)
        return not actor.is_alive or actor.pid != self.pid

    def is_whole(self) -> bool:
        """It serves again, in a new process."""
        actor = self.environment.actor(self.name)
        return actor.is_alive and actor.pid != self.pid


class StopRedis(Fault):
    """SIGSTOP to Redis: connections stay, nothing is answered."""

    shortest_s, longest_s = 3.0, 12.0

    async def harm(self) -> None:
        """See the class."""
        self.server = redis_server(self.environment.data_dir)
        freeze([self.server])

    async def heal(self) -> None:
        """See the class."""
        thaw([self.server])

    def is_noticed(self) -> bool:
        """The Dispatcher says so."""
        return bool(self.watch.status and self.watch.status.store_error)

    def is_whole(self) -> bool:
        """The Dispatcher says so."""
        return bool(self.watch.status and not self.watch.status.store_error)


class KillRedis(Fault):
    """SIGKILL to Redis, which is started again on its file."""

    async def harm(self) -> None:
        """See the class."""
        self.server = redis_server(self.environment.data_dir)
        self.server.kill()

    def is_noticed(self) -> bool:
        """The Dispatcher says so, or there is a new server already."""
        return bool(self.watch.status and self.watch.status.store_error) or self._is_replaced()

    def _is_replaced(self) -> bool:
        try:
            return redis_server(self.environment.data_dir).pid != self.server.pid
        except AssertionError:
            return False

    def is_whole(self) -> bool:
        """A new server answers."""
        return self._is_replaced() and bool(self.watch.status and not self.watch.status.store_error)


class KillSubmitter(Fault):
    """SIGKILL to a client: its waiting jobs end, and nobody is hurt."""

    async def harm(self) -> None:
        """See the class."""
        self.name = self.environment.submitters.current()
        self.jobs = self.environment.submitters.jobs_in_vain(self.name)
        self.cancelled = False
        await self.environment.submitters.kill()
        self.asking = asyncio.create_task(self._ask())

    async def heal(self) -> None:
        """The next one."""
        await self.environment.submitters.start()

    async def _ask(self) -> None:
        while not self.cancelled:
            await asyncio.sleep(0.25)
            try:
                told = [await self.environment.scheduler.explain(job) for job in self.jobs]
            except SchedError:
                continue
            self.cancelled = all(it.job.status == JobStatus.CANCELLED for it in told)

    def is_noticed(self) -> bool:
        """Its waiting jobs are cancelled."""
        return self.cancelled

    def is_whole(self) -> bool:
        """All of them."""
        return self.cancelled


NODE_FAULTS: dict[str, type[NodeFault]] = {
    "kill-agent": KillAgent,
    "kill-raylet": KillRaylet,
    "freeze-agent": FreezeAgent,
    "freeze-raylet": FreezeRaylet,
    "cut": Cut,
    "drain": Drain,
}
ACTOR_FAULTS = {
    "kill-dispatcher": "dispatcher",
    "kill-registry": "registry",
    "kill-pool": "pool",
    "kill-timer": "timer",
}
OTHER_FAULTS: dict[str, tuple[type[Fault], str]] = {
    "stop-redis": (StopRedis, "redis"),
    "kill-redis": (KillRedis, "redis"),
    "kill-submitter": (KillSubmitter, "submitter"),
}
KINDS = (*NODE_FAULTS, *ACTOR_FAULTS, "kill-engine", *OTHER_FAULTS, "add")
"""Every kind there is."""
