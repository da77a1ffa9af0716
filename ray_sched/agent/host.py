"""Runs one node's engine in as many slots as the node has, outside the agent's event loop.

The host picks a replica with a free slot for a run, passes partials and results on in the event loop, and keeps crashed
processes coming back. It never decides which job runs, never retries a job and never reports to anybody.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from msgspec import structs

from ray_sched.agent.engine import Engine, EngineResult, RefusedError, Work
from ray_sched.agent.engine_messages import LoadEngine
from ray_sched.agent.engines import find_engine
from ray_sched.agent.layout import lay_out
from ray_sched.agent.machine import Machine, child_environment
from ray_sched.agent.process_replica import ProcessReplica
from ray_sched.agent.replicas import Replica, ReplicaState
from ray_sched.agent.thread_replica import ThreadReplica
from ray_sched.core.capability import Capability
from ray_sched.core.distribution import SIZE_BOUNDARIES, Distribution
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.wire.samples import Samples


def _nobody_asks() -> None:
    """What a run does when its wait for the model is over, unless its caller wants to know."""


class EngineHost:
    """An engine with its slots. Made, started and used in one event loop.

    The engine is loaded once per replica (see :mod:`ray_sched.agent.layout`). A replica's process is killed when its
    only run is cancelled, and started again when it ends. Failing to load makes the host unhealthy: at once if the
    engine names what is missing, else after 3 failures in a row.
    """

    def __init__(
        self,
        engine_name: str,
        declared: Capability,
        options: dict[str, str],
        slots: int,
        machine: Machine,
        *,
        restart_backoff_s: float = 0.5,
    ) -> None:
        """Find the engine and check its options: SchedError (INVALID_CONFIGURATION) names what is wrong with them.

        ``restart_backoff_s`` is waited before a process is started again, doubled after each failure to load.
        """
        engine = find_engine(engine_name)
        self._machine = machine if declared.has_gpu else structs.replace(machine, gpus=())
        self._layout = lay_out(engine, options, slots, len(self._machine.gpus))
        self._engine: Engine = engine(declared, options)
        self._name = engine_name
        self._declared = declared
        self._options = options
        self._n_slots = slots
        self._backoff_s = restart_backoff_s
        self._capability = declared
        self._replicas: list[Replica] = []
        self._changed = asyncio.Event()
        self._runs: set[AttemptKey] = set()
        self._n_without_slot = 0
        self._began_s: float | None = None
        self.pass_sizes = Distribution(SIZE_BOUNDARIES)
        """Runs in each pass of an engine that gathers them."""
        self._why = "the engine has not been started"

    async def start(self) -> None:
        """Load the engine in every replica, side by side, and find out what it can do.

        Returns when every replica is ready or has given up; ``is_healthy`` is the answer. Call it once.
        """
        self._began_s = time.monotonic()
        self._capability = await asyncio.to_thread(self._engine.capability)
        self._why = ""
        if self._layout.is_in_process:
            self._start_processes()
        else:
            replica = ThreadReplica(
                self._name, self._engine, self._n_slots, self._changed, stuck_after_s=self._layout.stuck_after_s
            )
            self._replicas = [replica]
            await replica.load()
        while any(replica.state is ReplicaState.LOADING for replica in self._replicas):
            await self._next_change()
        self._began_s = None

    @property
    def is_batched(self) -> bool:
        """Whether runs share passes of the model."""
        return self._layout.is_batched

    @property
    def progress(self) -> str:
        """How far loading is, and what is unloaded, for people; empty if there is nothing to say."""
        states = [replica.state for replica in self._replicas]
        n_ready = states.count(ReplicaState.READY)
        if self._began_s is None:
            return _rest_of(states, self._waits_s())
        if ReplicaState.LOADING not in states:
            return ""
        held = f", {_megabytes(self.pids):.0f} MB in memory" if self.pids else ""
        waited_s = time.monotonic() - self._began_s
        return f"loading its engine for {waited_s:.0f} s: {n_ready} of {len(self._replicas)} replicas are ready{held}"

    @property
    def loads_in_s(self) -> float:
        """About how long a run that comes now waits for a model; 0: not at all, or nobody knows."""
        return 0.0 if self._freest(ReplicaState.READY) else min(self._waits_s(), default=0.0)

    @property
    def loads_within_s(self) -> int:
        """How long a run that comes now waits for a model at most; 0: not at all."""
        return self._layout.rest.load_timeout_s if self.loads_in_s else 0

    def _waits_s(self) -> list[float]:
        """About how long each replica that is not loaded takes, as far as it has a free slot."""
        coming = (ReplicaState.LOADING, ReplicaState.UNLOADED)
        return [replica.loads_in_s for replica in self._replicas if replica.state in coming and replica.free_slots]

    @property
    def is_healthy(self) -> bool:
        """Whether every replica runs or will run again, and none is stuck."""
        return not self.why_unhealthy

    @property
    def why_unhealthy(self) -> str:
        """Why the host is unhealthy, one sentence; empty when it is healthy."""
        failed = (replica.why for replica in self._replicas if replica.state is ReplicaState.FAILED)
        stuck = (replica.why_stuck for replica in self._replicas if replica.why_stuck)
        return self._why or next(failed, "") or next(stuck, "")

    @property
    def is_stuck(self) -> bool:
        """Whether a run goes on in a thread long after it was cancelled: only the end of this process ends it."""
        return any(replica.why_stuck for replica in self._replicas)

    @property
    def free_slots(self) -> int:
        """How many more runs are accepted now: free slots, and those that are starting again, less the waiting runs."""
        usable = (ReplicaState.READY, ReplicaState.LOADING, ReplicaState.UNLOADED)
        n_free = sum(replica.free_slots for replica in self._replicas if replica.state in usable)
        return max(0, n_free - self._n_without_slot)

    @property
    def pids(self) -> list[int]:
        """Process ids of the engine's living processes; empty for a thread engine."""
        return [replica.pid for replica in self._replicas if replica.pid is not None]

    def capability(self) -> Capability:
        """What the engine found installed at the start; before that, what was declared."""
        return self._capability

    def admit(self, work: Work) -> str | None:
        """Why this work is refused right now, or None to accept it."""
        if self.why_unhealthy:
            return self.why_unhealthy
        if self.free_slots == 0:
            return f"all {self._n_slots} slots of the engine are taken"
        return self._engine.admit(work)

    async def run(
        self,
        work: Work,
        audio: bytes | Samples,
        emit_partial: Callable[[str], None],
        handle_loaded: Callable[[], None] = _nobody_asks,
    ) -> EngineResult:
        """Run in a free slot. ``audio`` is 16 kHz mono, 16 bit; ``emit_partial`` is called in the event loop.

        Waits for a slot that is loading again, and calls ``handle_loaded`` when that is over. Raises RefusedError when
        none is free, or loaded in time, ModelNotAvailableError and EngineFailedError as the engine does,
        EngineCrashedError when its process ended.

        Cancel the task that awaits this to end the run: a process with one slot is killed with all it started and
        starts again in the background. In a process with more slots, a run that has begun goes on beside the others and
        its result is thrown away; this raises CancelledError when the slot is free, at the latest when the process was
        killed because the run is stuck. A thread cannot be killed: a run that is stuck there makes the host unhealthy.
        """
        key = (work.job_id, work.attempt)
        if key in self._runs:
            raise RefusedError(f"attempt {work.attempt} of job {work.job_id} is running here already")
        self._runs.add(key)
        try:
            replica = self._freest(ReplicaState.READY)
            if replica is None:
                replica = await self._next_replica()
                handle_loaded()
            return await replica.run(work, audio, emit_partial)
        finally:
            self._runs.remove(key)

    async def stop(self) -> None:
        """End all runs and processes and wait until the processes are gone. May be called again."""
        self._why = "the engine was stopped"
        await asyncio.gather(*(replica.stop() for replica in self._replicas))
        self._changed.set()

    def _start_processes(self) -> None:
        layout = self._layout
        for number, n_slots in enumerate(layout.slots):
            load = LoadEngine(self._name, self._declared, self._options, n_slots, layout.is_batched, layout.limits)
            environment = child_environment(self._machine, number, len(layout.slots), layout.threads)
            replica = ProcessReplica(
                load,
                environment,
                self._changed,
                backoff_s=self._backoff_s,
                stuck_after_s=layout.stuck_after_s,
                rest=layout.rest,
                pass_sizes=self.pass_sizes,
            )
            self._replicas.append(replica)
            replica.start()

    async def _next_replica(self) -> Replica:
        """The next replica to have a free slot; one that is unloaded is woken, unless enough are loading."""
        limit_s = self._layout.rest.load_timeout_s
        self._n_without_slot += 1
        try:
            async with asyncio.timeout(limit_s):
                while not (replica := self._freest(ReplicaState.READY)):
                    self._wake_enough()
                    await self._next_change()
                return replica
        except TimeoutError:
            raise RefusedError(f"the engine has not loaded again within {limit_s} s") from None
        finally:
            self._n_without_slot -= 1

    def _wake_enough(self) -> None:
        """For each run that waits a slot is loading. Raises RefusedError if none ever will be."""
        loading = [it for it in self._replicas if it.state is ReplicaState.LOADING]
        n_coming = sum(replica.free_slots for replica in loading)
        unloaded = self._freest(ReplicaState.UNLOADED)
        if unloaded and n_coming < self._n_without_slot:
            unloaded.wake()
        elif not n_coming:
            raise RefusedError(self.why_unhealthy or f"all {self._n_slots} slots of the engine are taken")

    def _freest(self, state: ReplicaState) -> Replica | None:
        with_slots = (replica for replica in self._replicas if replica.state is state and replica.free_slots)
        return max(with_slots, key=lambda replica: replica.free_slots, default=None)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _rest_of(states: list[ReplicaState], waits_s: list[float]) -> str:
    """What is said of replicas that were loaded before and are not now."""
    n_unloaded, n_loading = states.count(ReplicaState.UNLOADED), states.count(ReplicaState.LOADING)
    if not (n_unloaded or n_loading):
        return ""
    in_s = f"{max(min(waits_s, default=0.0), 1):.0f} s"
    what = f"loads again (about {in_s} left)" if n_loading else f"unloaded (loads in about {in_s})"
    n_away = n_loading or n_unloaded
    return what if n_away == len(states) else f"{n_away} of {len(states)} replicas: {what}"


def _megabytes(pids: list[int]) -> float:
    """Memory that these processes have of their own or share; those that have just ended have none."""
    n_bytes = 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            n_bytes += psutil.Process(pid).memory_info().rss
    return n_bytes / 1e6
