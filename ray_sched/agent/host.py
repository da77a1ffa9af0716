"""Runs one node's engine in as many slots as the node has, outside the agent's event loop.

The host picks a free slot for a run, passes partials and results on in the event loop, and keeps crashed processes
coming back. It never decides which job runs, never retries a job and never reports to anybody.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ray_sched.agent.arrivals import Arrivals
from ray_sched.agent.engine import Engine, EngineResult, RefusedError, Work
from ray_sched.agent.engine_process import LoadEngine, describe_error
from ray_sched.agent.engines import find_engine
from ray_sched.agent.process_slot import ProcessSlot
from ray_sched.agent.slots import Slot, SlotState, SlotTable
from ray_sched.agent.thread_slot import ThreadSlot
from ray_sched.core.capability import Capability
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.wire.samples import Samples

logger = logging.getLogger(__name__)


class EngineHost:
    """An engine with its slots. Made, started and used in one event loop.

    A ``thread`` engine is loaded once and shared by all slots; a ``process`` engine is loaded once per slot, in a
    process that is killed when its run is cancelled and started again when it ends. Failing to load makes the host
    unhealthy: at once if the engine names what is missing, else after 3 failures in a row.
    """

    def __init__(
        self,
        engine_name: str,
        declared: Capability,
        options: dict[str, str],
        slots: int,
        *,
        restart_backoff_s: float = 0.5,
    ) -> None:
        """Find the engine and check its options: SchedError (INVALID_CONFIGURATION) names what is wrong with them.

        ``restart_backoff_s`` is waited before a process is started again, doubled after each failure to load.
        """
        self._engine: Engine = find_engine(engine_name)(declared, options)
        self._load = LoadEngine(engine_name, declared, options)
        self._n_slots = slots
        self._backoff_s = restart_backoff_s
        self._capability = declared
        self._slots: list[Slot] = []
        self._table = SlotTable()
        self._runs: set[AttemptKey] = set()
        self._n_without_slot = 0
        self._executor: ThreadPoolExecutor | None = None
        self._why = "the engine has not been started"

    async def start(self) -> None:
        """Load the engine in every slot, side by side, and find out what it can do.

        Returns when every slot is ready or has given up; ``is_healthy`` is the answer. Call it once.
        """
        self._capability = await asyncio.to_thread(self._engine.capability)
        self._why = ""
        if self._engine.isolation == "thread":
            await self._start_threads()
        else:
            self._start_processes()
        while self._table.count(SlotState.LOADING):
            await self._next_change()

    @property
    def is_healthy(self) -> bool:
        """Whether every slot runs or will run again."""
        return not self.why_unhealthy

    @property
    def why_unhealthy(self) -> str:
        """Why the host is unhealthy, one sentence; empty when it is healthy."""
        failed = self._table.first(SlotState.FAILED)
        return self._why or (failed.why if failed else "")

    @property
    def free_slots(self) -> int:
        """How many more runs are accepted now: idle slots, and those that are starting again, less the waiting runs."""
        return max(0, self._table.count(SlotState.IDLE, SlotState.LOADING) - self._n_without_slot)

    @property
    def pids(self) -> list[int]:
        """Process ids of the engine's living processes; empty for a thread engine."""
        return [slot.pid for slot in self._slots if isinstance(slot, ProcessSlot) and slot.pid is not None]

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

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run on a free slot. ``audio`` is 16 kHz mono, 16 bit; ``emit_partial`` is called in the event loop.

        Waits for a slot that is starting again. Raises RefusedError when none is free, ModelNotAvailableError and
        EngineFailedError as the engine does, EngineCrashedError when its process ended.

        Cancel the task that awaits this to end the run: a process engine's slot is killed with all it started and
        starts again in the background. A thread cannot be killed: the slot stays taken until the engine comes back by
        itself, and its result is thrown away.
        """
        key = (work.job_id, work.attempt)
        if key in self._runs:
            raise RefusedError(f"attempt {work.attempt} of job {work.job_id} is running here already")
        self._runs.add(key)
        try:
            return await self._run(await self._idle_slot(), work, audio, emit_partial)
        finally:
            self._runs.remove(key)

    async def _run(
        self, slot: Slot, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]
    ) -> EngineResult:
        try:
            return await slot.run(work, audio, emit_partial)
        except asyncio.CancelledError:
            slot.abandon()
            raise

    async def stop(self) -> None:
        """End all runs and processes and wait until the processes are gone. May be called again."""
        self._why = "the engine was stopped"
        await asyncio.gather(*(slot.stop() for slot in self._slots))
        self._table.changed.set()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _start_threads(self) -> None:
        self._executor = ThreadPoolExecutor(self._n_slots, thread_name_prefix="engine")
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._engine.load)
        except SchedError as error:
            self._why = error.message
        except Exception as error:
            logger.exception("loading engine %s failed", self._load.engine)
            self._why = f"the engine cannot be loaded: {describe_error(error)}"
        else:
            parts = (self._engine, self._executor, Arrivals(), self._table)
            self._slots = [ThreadSlot(*parts) for _ in range(self._n_slots)]

    def _start_processes(self) -> None:
        slots = [ProcessSlot(self._load, self._table, self._backoff_s) for _ in range(self._n_slots)]
        self._slots = list(slots)
        for slot in slots:
            slot.start()

    async def _idle_slot(self) -> Slot:
        """The slot that has been idle longest; waits only while there is one that is starting again."""
        self._n_without_slot += 1
        try:
            while True:
                slot = self._table.first(SlotState.IDLE)
                if slot:
                    return slot
                if not self._table.count(SlotState.LOADING):
                    raise RefusedError(self.why_unhealthy or f"all {self._n_slots} slots of the engine are taken")
                await self._next_change()
        finally:
            self._n_without_slot -= 1

    async def _next_change(self) -> None:
        self._table.changed.clear()
        await self._table.changed.wait()
