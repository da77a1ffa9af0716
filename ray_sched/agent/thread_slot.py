"""A slot on the threads of the agent's process, with an engine that it shares with the other slots."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ray_sched.agent.arrivals import Arrivals
from ray_sched.agent.engine import Engine, EngineResult, Work
from ray_sched.agent.engine_errors import as_run_error
from ray_sched.agent.slots import SlotState, SlotTable, settle
from ray_sched.wire.samples import Samples


class ThreadSlot:
    """A slot on the threads of the agent's process.

    A thread cannot be killed: after :meth:`abandon` the caller is free at once, but the slot stays busy until the
    engine comes back by itself, and what it brings is thrown away.
    """

    def __init__(self, engine: Engine, executor: ThreadPoolExecutor, arrivals: Arrivals, slots: SlotTable) -> None:
        self.state = SlotState.IDLE
        self.why = ""
        self._slots = slots
        slots.add(self, self.state)
        self._engine = engine
        self._executor = executor
        self._arrivals = arrivals
        self._outcome: asyncio.Future[EngineResult] | None = None

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in a thread. Raises ModelNotAvailableError, RefusedError, EngineFailedError or CancelledError."""
        samples = _as_samples(audio)
        self._set(SlotState.BUSY)
        outcome: asyncio.Future[EngineResult] = asyncio.get_running_loop().create_future()
        self._outcome = outcome

        def handle(text: str) -> None:
            if not outcome.done():
                emit_partial(text)

        def emit(text: str) -> None:
            self._arrivals.put(lambda: handle(text))

        running = self._executor.submit(self._engine.run, work, samples, emit)
        running.add_done_callback(lambda done: self._arrivals.put(lambda: self._end(outcome, done)))
        return await outcome

    def abandon(self) -> None:
        """Give the caller back at once; the thread goes on."""
        if self._outcome is not None:
            self._outcome.cancel()

    async def stop(self) -> None:
        """Give the caller back. A thread in the middle of a run ends by itself."""
        self._set(SlotState.STOPPED)
        self.abandon()

    def _end(self, outcome: "asyncio.Future[EngineResult]", done: "Future[EngineResult]") -> None:
        self._outcome = None  # it holds the speech, or an error whose traceback holds the audio
        if done.cancelled():
            outcome.cancel()
        elif (error := done.exception()) is not None:
            settle(outcome, as_run_error(error))
        else:
            settle(outcome, done.result())
        if self.state is SlotState.BUSY:
            self._set(SlotState.IDLE)

    def _set(self, state: SlotState) -> None:
        before, self.state = self.state, state
        self._slots.move(self, before, state)


def _as_samples(audio: bytes | Samples) -> Samples:
    """16-bit samples as an array, without a copy."""
    return np.frombuffer(audio, dtype="<i2") if isinstance(audio, bytes) else audio
