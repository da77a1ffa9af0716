"""A slot with a process of its own: started, loaded, listened to, killed to end a run, and started again."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

import psutil

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.engine_process import (
    LENGTH_BYTES,
    BadFrameError,
    EngineFailed,
    EngineFinished,
    EngineLoaded,
    FromProcess,
    LoadEngine,
    LoadFailed,
    PartialEmitted,
    RunWork,
    ToProcess,
    decode_from_process,
    encode_frame,
    reply_length,
)
from ray_sched.agent.slots import SlotState, SlotTable, settle
from ray_sched.wire.samples import Samples

logger = logging.getLogger(__name__)

MAX_LOADS = 3
"""So many failures to load in a row break a slot."""

_START = (
    "import os, sys; agent_pid = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from ray_sched.agent.engine_process import die_with_parent, main; die_with_parent(); "
    "os.getppid() == agent_pid and main()"
)
"""The child gets the agent's sys.path, which Ray extends in the running process only, so that it finds the engine."""


class ProcessSlot:
    """A slot with a process of its own. One task keeps it alive: start, load, listen, start again."""

    def __init__(self, load: LoadEngine, slots: SlotTable, backoff_s: float) -> None:
        self.state = SlotState.LOADING
        self.why = ""
        self._slots = slots
        slots.add(self, self.state)
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
        await self._send(self._process, RunWork(work, _as_bytes(audio)))
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
                self._set(SlotState.FAILED)

    async def _live(self) -> bool:
        """One life of the process, from its start to its end. True if the end was an abandoned run."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _START, str(os.getpid()), *sys.path, stdin=PIPE, stdout=PIPE, start_new_session=True
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
        with suppress(ConnectionError):  # it died; the keeper reads the end of its output and fails the run
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
            case PartialEmitted():
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
            self._outcome = None  # it holds the speech
            self._set(SlotState.IDLE)

    def _bury(self, status: int | None, nonsense: str) -> bool:
        """Fail the run, if there is one, since its process ended, and count a load that did not succeed."""
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
            self._slots.move(self, before, state)


def _as_error(message: EngineFailed) -> Exception:
    if message.missing_service:
        return ModelNotAvailableError(message.missing_service, message.message)
    return RefusedError(message.message) if message.is_refusal else EngineFailedError(message.message)


def _as_bytes(audio: bytes | Samples) -> bytes:
    """16-bit samples as bytes, little endian."""
    return audio if isinstance(audio, bytes) else audio.astype("<i2", copy=False).tobytes()
