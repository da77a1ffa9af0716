"""One slot of an engine: it runs one attempt at a time and can be cancelled. Two kinds, one Protocol.

A thread slot shares its engine with the others and cannot be stopped in the middle. A process slot has a process of
its own that is killed and started again. Which slot runs what is the :mod:`host <ray_sched.agent.host>`'s business.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from typing import Protocol, assert_never

import numpy as np
import psutil

from ray_sched.agent.engine import Engine, EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engine_process import (
    LENGTH_BYTES,
    BadFrameError,
    EngineFailed,
    EngineFinished,
    EngineLoaded,
    FromProcess,
    Heard,
    LoadEngine,
    LoadFailed,
    RunWork,
    ToProcess,
    decode_from_process,
    describe_error,
    encode_frame,
    reply_length,
)
from ray_sched.wire.samples import Samples

logger = logging.getLogger(__name__)

MAX_LOADS = 3
"""So many failures to load in a row break a slot."""

_BOOT = (
    "import os, sys; agent_pid = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from ray_sched.agent.engine_process import die_with_parent, main; die_with_parent(); "
    "os.getppid() == agent_pid and main()"
)
"""The child gets the agent's sys.path, which Ray extends in the running process only, so that it finds the engine."""


class EngineCrashedError(Exception):
    """The engine's process ended in the middle of a run; the sentence says how."""


class EngineFailedError(Exception):
    """The engine raised an error; the sentence holds its type and text, and the engine lives on."""


class SlotState(StrEnum):
    """What a slot is doing. Only an idle slot takes work; a broken one never will again."""

    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    BROKEN = "broken"
    STOPPED = "stopped"


class Roster:
    """Which slots are in which state, so that nobody has to look at all of them; ``changed`` after each change."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._in: dict[SlotState, dict[Slot, None]] = {state: {} for state in SlotState}

    def enter(self, slot: "Slot", state: SlotState) -> None:
        """A new slot."""
        self._in[state][slot] = None

    def move(self, slot: "Slot", before: SlotState, after: SlotState) -> None:
        """A slot has changed its state."""
        del self._in[before][slot]
        self._in[after][slot] = None
        self.changed.set()

    def count(self, *states: SlotState) -> int:
        """How many slots are in these states."""
        return sum(len(self._in[state]) for state in states)

    def first(self, state: SlotState) -> "Slot | None":
        """The slot that has been in this state longest, or None."""
        return next(iter(self._in[state]), None)


class Slot(Protocol):
    """What the host asks of a slot."""

    why: str
    """Why the slot is broken, one sentence; empty otherwise."""

    @property
    def state(self) -> SlotState:
        """What it is doing."""
        ...

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run on this idle slot."""
        ...

    def abandon(self) -> None:
        """End the current run: its caller gets asyncio.CancelledError."""
        ...

    async def stop(self) -> None:
        """End everything; nothing of the slot is left."""
        ...


class Arrivals:
    """Calls from threads to the event loop that wake it once for all that have gathered, not once for each."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def put(self, call: Callable[[], None]) -> None:
        """Have this called in the loop, in order. From any thread."""
        self._calls.append(call)
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed: the agent is gone, only this thread is not
                self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._is_woken = False  # first: what is put from now on wakes the loop again
        while self._calls:
            self._calls.popleft()()


class ThreadSlot:
    """A slot on the threads of the agent's process.

    A thread cannot be killed: after :meth:`abandon` the caller is free at once, but the slot stays busy until the
    engine comes back by itself, and what it brings is thrown away.
    """

    def __init__(self, engine: Engine, executor: ThreadPoolExecutor, arrivals: Arrivals, roster: Roster) -> None:
        self.state = SlotState.IDLE
        self.why = ""
        self._roster = roster
        roster.enter(self, self.state)
        self._engine = engine
        self._executor = executor
        self._arrivals = arrivals
        self._outcome: asyncio.Future[EngineResult] | None = None

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in a thread. Raises ModelNotAvailableError, RefusedError, EngineFailedError or CancelledError."""
        samples = as_samples(audio)
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
        self._roster.move(self, before, state)


class ProcessSlot:
    """A slot with a process of its own. One task keeps it alive: start, load, listen, start again."""

    def __init__(self, load: LoadEngine, roster: Roster, backoff_s: float) -> None:
        self.state = SlotState.LOADING
        self.why = ""
        self._roster = roster
        roster.enter(self, self.state)
        self._load = load
        self._backoff_s = backoff_s
        self._failed_loads = 0
        self._is_loaded = False
        self._process: Process | None = None
        self._outcome: asyncio.Future[EngineResult] | None = None
        self._emit_partial: Callable[[str], None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the engine while one lives."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process and keep it alive from now on."""
        self._keeper = asyncio.create_task(self._keep())

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in the process. Raises what a thread slot raises, or EngineCrashedError."""
        if self._process is None:
            raise EngineCrashedError("the engine's process is not running")
        self._set(SlotState.BUSY)
        self._emit_partial = emit_partial
        self._outcome = asyncio.get_running_loop().create_future()
        outcome = self._outcome
        await self._send(self._process, RunWork(work, as_bytes(audio)))
        return await outcome

    def abandon(self) -> None:
        """Kill the process; the keeper starts a new one."""
        if self.state is SlotState.BUSY and self._outcome is not None:
            self._outcome.cancel()
            self._set(SlotState.LOADING)
            self._kill()

    async def stop(self) -> None:
        """Kill the process and wait until it is gone."""
        self._set(SlotState.STOPPED)
        if self._outcome is not None:
            self._outcome.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def _keep(self) -> None:
        try:
            while True:
                is_abandoned = await self._live()
                if self._failed_loads >= MAX_LOADS:
                    break
                if not is_abandoned:
                    await asyncio.sleep(self._backoff_s * 2 ** max(0, self._failed_loads - 1))
        finally:
            if self.state is not SlotState.STOPPED:
                self.why = self.why or "the slot's keeper failed, see the agent's log"
                self._set(SlotState.BROKEN)

    async def _live(self) -> bool:
        """One life of the process, from its start to its end. True if the end was an abandoned run."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _BOOT, str(os.getpid()), *sys.path, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        self._process, self._is_loaded = process, False
        nonsense = ""
        try:
            await self._send(process, self._load)
            while (message := await self._receive(process)) is not None:
                self._handle(message)
        except BadFrameError as error:
            nonsense = f" after {error}"
        finally:
            self._kill()
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()
            self._process = None
        return self._bury(process.returncode, nonsense)

    async def _send(self, process: Process, message: ToProcess) -> None:
        assert process.stdin is not None  # noqa: S101  it was made with a pipe
        process.stdin.write(encode_frame(message))
        with suppress(ConnectionError):  # it died; the keeper reads the end of its output and tells the caller
            await process.stdin.drain()

    async def _receive(self, process: Process) -> FromProcess | None:
        assert process.stdout is not None  # noqa: S101  it was made with a pipe
        try:
            head = await process.stdout.readexactly(LENGTH_BYTES)
            return decode_from_process(await process.stdout.readexactly(reply_length(head)))
        except asyncio.IncompleteReadError:
            return None

    def _handle(self, message: FromProcess) -> None:
        match message:
            case EngineLoaded():
                self._is_loaded, self._failed_loads, self.why = True, 0, ""
                if self.state is SlotState.LOADING:
                    self._set(SlotState.IDLE)
            case LoadFailed():
                self.why = message.message
                self._failed_loads = MAX_LOADS - 1 if message.code else self._failed_loads
            case Heard():
                if self._emit_partial and self._outcome and not self._outcome.done():
                    self._emit_partial(message.text)
            case EngineFinished():
                self._end(message.result)
            case EngineFailed():
                self._end(_as_error(message))
            case _:
                assert_never(message)

    def _end(self, outcome: EngineResult | Exception) -> None:
        if self._outcome is not None and settle(self._outcome, outcome):
            self._set(SlotState.IDLE)

    def _bury(self, status: int | None, nonsense: str) -> bool:
        """Tell the caller of the run that the process ended, and count a load that did not succeed."""
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        how += nonsense
        is_abandoned = self._outcome is not None and self._outcome.cancelled()
        if self._outcome is not None:
            settle(self._outcome, EngineCrashedError(f"the engine's process ended with {how} in the middle of a run"))
            self._outcome = None
        if not self._is_loaded:
            self._failed_loads += 1
            self.why = self.why or f"the engine's process ended with {how} while loading"
        if not is_abandoned:
            logger.warning("the process of engine %s ended with %s", self._load.engine, how)
        self._set(SlotState.LOADING)
        return is_abandoned

    def _kill(self) -> None:
        """Kill the process and the programs it started."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(psutil.NoSuchProcess):
            engine = psutil.Process(self._process.pid)
            engine.suspend()  # so that it starts nothing between the list and its end
            for one in [*engine.children(recursive=True), engine]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()

    def _set(self, state: SlotState) -> None:
        if self.state is not SlotState.STOPPED:
            before, self.state = self.state, state
            self._roster.move(self, before, state)


def settle(outcome: "asyncio.Future[EngineResult]", value: EngineResult | BaseException) -> bool:
    """Give an outcome to whoever waits, once; False if it had one."""
    if outcome.done():
        return False
    if isinstance(value, BaseException):
        outcome.set_exception(value)
        outcome.exception()  # an abandoned run has nobody who asks; that is no reason for asyncio to complain
    else:
        outcome.set_result(value)
    return True


def as_run_error(error: BaseException) -> BaseException:
    """What a caller sees of an error in an engine: the protocol's own as they are, every other as EngineFailedError."""
    if isinstance(error, ModelNotAvailableError | RefusedError):
        return error
    failed = EngineFailedError(describe_error(error))
    failed.__cause__ = error
    return failed


def as_samples(audio: bytes | Samples) -> Samples:
    """16-bit samples as an array, without a copy."""
    return np.frombuffer(audio, dtype="<i2") if isinstance(audio, bytes) else audio


def as_bytes(audio: bytes | Samples) -> bytes:
    """16-bit samples as bytes, little endian."""
    return audio if isinstance(audio, bytes) else audio.astype("<i2", copy=False).tobytes()


def _as_error(message: EngineFailed) -> Exception:
    if message.missing_service:
        return ModelNotAvailableError(message.missing_service, message.message)
    return RefusedError(message.message) if message.is_refusal else EngineFailedError(message.message)
