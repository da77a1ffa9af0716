"""A replica on threads of the agent's process: one engine that all slots of the node share."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ray_sched.agent.arrivals import Arrivals
from ray_sched.agent.engine import Engine, EngineResult, Work
from ray_sched.agent.engine_errors import as_run_error
from ray_sched.agent.engine_messages import describe_error
from ray_sched.agent.replicas import ReplicaState, settle, wait_through
from ray_sched.agent.warm_up import load_and_warm_up
from ray_sched.core.errors import SchedError
from ray_sched.wire.samples import Samples

logger = logging.getLogger(__name__)


class ThreadReplica:
    """As many threads as slots.

    A thread cannot be killed: a run that is cancelled keeps its slot until the engine comes back by itself, and what it
    brings is thrown away. If it does not come back within ``stuck_after_s`` the replica is stuck.
    """

    pid = None
    loads_in_s = 0.0
    """It is loaded once, before its node is ready."""

    def __init__(
        self, name: str, engine: Engine, n_slots: int, changed: asyncio.Event, *, stuck_after_s: float
    ) -> None:
        """``changed`` is set by each change of state and each slot that becomes free."""
        self._stuck_after_s = stuck_after_s
        self._over: dict[asyncio.Future[EngineResult], asyncio.Event] = {}
        """Of each run that was cancelled and goes on."""
        self._stuck: set[asyncio.Future[EngineResult]] = set()
        self.state = ReplicaState.LOADING
        self.why = ""
        self.free_slots = n_slots
        self._name = name
        self._engine = engine
        self._changed = changed
        self._executor = ThreadPoolExecutor(n_slots, thread_name_prefix="engine")
        self._arrivals = Arrivals()
        self._outcomes: set[asyncio.Future[EngineResult]] = set()

    async def load(self) -> None:
        """Load the engine in a thread; ``state`` says how it went."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, load_and_warm_up, self._engine)
        except SchedError as error:
            self._fail(error.message)
        except Exception as error:
            logger.exception("loading engine %s failed", self._name)
            self._fail(f"the engine cannot be loaded: {describe_error(error)}")
        else:
            self._set(ReplicaState.READY)

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in a thread. Raises ModelNotAvailableError, RefusedError, EngineFailedError or CancelledError."""
        samples = _as_samples(audio)
        self.free_slots -= 1
        outcome: asyncio.Future[EngineResult] = asyncio.get_running_loop().create_future()
        self._outcomes.add(outcome)

        def handle(text: str) -> None:
            if not outcome.done():
                emit_partial(text)

        def emit(text: str) -> None:
            self._arrivals.put(lambda: handle(text))

        running = self._executor.submit(self._engine.run, work, samples, emit)
        running.add_done_callback(lambda done: self._arrivals.put(lambda: self._end(outcome, done)))
        try:
            return await outcome
        except asyncio.CancelledError:
            await self._abandon(outcome)
            raise

    def wake(self) -> None:
        """It is never unloaded."""

    @property
    def why_stuck(self) -> str:
        """Of a run that cannot be ended."""
        n_stuck, limit_s = len(self._stuck), self._stuck_after_s
        return f"of its runs {n_stuck} went on for {limit_s:g} s after they were cancelled" if n_stuck else ""

    async def _abandon(self, outcome: "asyncio.Future[EngineResult]") -> None:
        """Nobody waits for this run any more. Returns when its slot is free, however often it is cancelled."""
        outcome.cancel()
        if outcome not in self._outcomes:
            return
        over = self._over[outcome] = asyncio.Event()
        noticing = asyncio.get_running_loop().call_later(self._stuck_after_s, self._stuck.add, outcome)
        await wait_through(over)
        noticing.cancel()
        self._stuck.discard(outcome)

    async def stop(self) -> None:
        """Give the callers back. A thread in the middle of a run ends by itself."""
        self._set(ReplicaState.STOPPED)
        for outcome in self._outcomes:
            outcome.cancel()
        for over in self._over.values():
            over.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _end(self, outcome: "asyncio.Future[EngineResult]", done: "Future[EngineResult]") -> None:
        self._outcomes.discard(outcome)  # it holds the speech, or an error whose traceback holds the audio
        if over := self._over.pop(outcome, None):
            over.set()
        if done.cancelled():
            outcome.cancel()
        elif (error := done.exception()) is not None:
            settle(outcome, as_run_error(error))
        else:
            settle(outcome, done.result())
        self.free_slots += 1
        self._changed.set()

    def _fail(self, why: str) -> None:
        self.why = why
        self._set(ReplicaState.FAILED)

    def _set(self, state: ReplicaState) -> None:
        if self.state is not ReplicaState.STOPPED:
            self.state = state
        self._changed.set()


def _as_samples(audio: bytes | Samples) -> Samples:
    """16-bit samples as an array, without a copy."""
    return np.frombuffer(audio, dtype="<i2") if isinstance(audio, bytes) else audio
