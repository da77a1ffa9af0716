"""A replica in a process of its own, which is killed when its only run hangs and started again when it ends."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import assert_never

import psutil
from msgspec import structs

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.engine_messages import (
    LENGTH_BYTES,
    BadFrameError,
    DropRun,
    EngineFailed,
    EngineFinished,
    EngineLoaded,
    FromProcess,
    LoadEngine,
    LoadFailed,
    PartialEmitted,
    PassBegan,
    RunDropped,
    RunWork,
    ToProcess,
    decode_from_process,
    encode_frame,
    reply_length,
)
from ray_sched.agent.replica_runs import ReplicaRuns, Run
from ray_sched.agent.replicas import ReplicaState, wait_through
from ray_sched.agent.rest import Rest, RestLimits
from ray_sched.core.distribution import SIZE_BOUNDARIES, Distribution
from ray_sched.wire.samples import Samples

logger = logging.getLogger(__name__)

MAX_LOADS = 3
"""So many failures to load in a row break a replica."""
MAX_FAILED_JOBS = 3
"""So many jobs that fail in a row say that the engine is broken, as one on a GPU is after a fault of its context."""

_NEVER = RestLimits()

_START = (
    "import os, sys; agent_pid = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from ray_sched.agent.engine_process import die_with_parent, main; die_with_parent(); "
    "os.getppid() == agent_pid and main()"
)
"""The child gets the agent's sys.path, which Ray extends in the running process only, so that it finds the engine."""


class ProcessReplica:
    """A process with one slot or many. One task keeps it alive: start, load, listen, start again.

    With one slot, cancelling its run kills the process. With many, the others go on: one that has begun keeps its slot
    until the engine comes back by itself, and what it brings is thrown away; if it does not come back within
    ``stuck_after_s`` the process is killed.

    One that nobody has needed for long ends its process, so that its memory is given back, and starts it again when it
    is woken.
    """

    why_stuck = ""
    """Never: what is stuck is killed."""

    def __init__(
        self,
        load: LoadEngine,
        environment: Mapping[str, str],
        changed: asyncio.Event,
        *,
        backoff_s: float,
        stuck_after_s: float,
        rest: RestLimits = _NEVER,
        pass_sizes: Distribution | None = None,
    ) -> None:
        """``environment``: all of the process's variables; ``pass_sizes`` counts the runs of each pass.

        ``changed`` is set by each change of state and each slot that becomes free.
        """
        self.state = ReplicaState.LOADING
        self.why = ""
        self._changed = changed
        self._runs = ReplicaRuns(load.slots, changed, is_batched=load.is_batched)
        self._load = structs.replace(load, audio=self._runs.memory.handle)
        self._environment = environment
        self._backoff_s = backoff_s
        self._stuck_after_s = stuck_after_s
        self._pass_sizes = pass_sizes or Distribution(SIZE_BOUNDARIES)
        self._rest = Rest(rest, self._unload, self._kill_loading)
        self._failed_loads = 0
        self._is_loaded = False
        self._is_killed = False
        self._is_retiring = False
        self._failed_jobs: set[str] = set()
        """Those that failed since the last one that did not."""
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the engine while one lives."""
        return self._process.pid if self._process else None

    @property
    def free_slots(self) -> int:
        """Slots without a run."""
        return self._load.slots - len(self._runs)

    @property
    def loads_in_s(self) -> float:
        """By its last load, less what has passed of this one."""
        return 0.0 if self.state is ReplicaState.READY else self._rest.loads_in_s

    def wake(self) -> None:
        """Somebody needs it."""
        if self.state is ReplicaState.UNLOADED:
            self._rest.end()
            self._set(ReplicaState.LOADING)

    def _unload(self) -> None:
        """Nobody has needed it for long."""
        if self.state is ReplicaState.READY and not self._runs:
            logger.info("engine %s is unloaded: nobody has needed it", self._load.engine)
            self._is_killed = True
            self._set(ReplicaState.UNLOADED)
            self._kill()

    def _kill_loading(self) -> None:
        logger.warning("the process of engine %s is killed: it loads for too long", self._load.engine)
        self.why = "the engine has not loaded again in time"
        self._kill()

    def start(self) -> None:
        """Start the process and keep it alive from now on."""
        self._keeper = asyncio.create_task(self._keep())

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in the process. Raises what a thread replica raises, or EngineCrashedError."""
        if self._process is None:
            raise EngineCrashedError("the engine's process is not running")
        self._rest.touch()
        run = self._runs.open(work, audio, emit_partial)
        try:
            await self._send(self._process, RunWork(run.number, work, run.place, run.n_bytes))
            return await run.outcome
        except asyncio.CancelledError:
            await self._abandon(run)
            raise
        finally:
            if not self._runs and self.state is ReplicaState.READY:
                self._rest.begin()

    async def stop(self) -> None:
        """Kill the process and wait until it is gone."""
        self._set(ReplicaState.STOPPED)
        self._rest.touch()
        self._runs.cancel_all()
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        self._runs.memory.close()

    async def _abandon(self, run: Run) -> None:
        """Nobody waits for this run any more. Returns when its slot is free, however often it is cancelled."""
        run.outcome.cancel()
        if run.over.is_set() or self._process is None:
            return
        if self._load.slots == 1:
            self._is_killed = True
            self._runs.end(run.number, RefusedError("it was cancelled"))
            self._set(ReplicaState.LOADING)
            self._kill()
            return
        _write(self._process, DropRun(run.number))
        killing = asyncio.get_running_loop().call_later(self._stuck_after_s, self._kill_stuck)
        await wait_through(run.over)
        killing.cancel()

    def _kill_stuck(self) -> None:
        why = "the process of engine %s is killed: a run goes on %g s after it was cancelled"
        logger.warning(why, self._load.engine, self._stuck_after_s)
        self._kill()

    async def _keep(self) -> None:
        try:
            while True:
                is_killed = await self._live()
                if self._failed_loads >= MAX_LOADS:
                    break
                if self.state is ReplicaState.UNLOADED:
                    await self._rest.wait_until_over()
                elif not is_killed:
                    await asyncio.sleep(self._backoff_s * 2 ** max(0, self._failed_loads - 1))
        finally:
            if self.state is not ReplicaState.STOPPED:
                self.why = self.why or "the replica's keeper failed, see the agent's log"
                self._set(ReplicaState.FAILED)

    async def _live(self) -> bool:
        """One life of the process, from its start to its end. True if it was killed to be started again at once."""
        self._rest.begin_load()
        process = self._process = await self._start()
        self._is_loaded = self._is_killed = False
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
        self._bury(process.returncode, nonsense)
        return self._is_killed

    async def _start(self) -> Process:
        """Start the process. A start that is cancelled half-way leaves nothing behind."""
        arguments = (sys.executable, "-c", _START, str(os.getpid()), *sys.path)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                pass_fds=[self._load.audio],
                start_new_session=True,
                env=self._environment,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._process = await starting
            self._kill()
            await self._process.wait()
            raise

    async def _send(self, process: Process, message: ToProcess) -> None:
        with suppress(ConnectionError):  # it died; the keeper reads the end of its output and fails the run
            await _write(process, message).drain()

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
                self._is_retiring = False
                self._failed_jobs.clear()
                self._rest.end_load()
                self._set(ReplicaState.READY)
            case LoadFailed():
                self.why = message.message
                self._failed_loads = MAX_LOADS - 1 if message.code else self._failed_loads
            case PassBegan():
                self._runs.begin_pass(message.runs)
                self._pass_sizes.observe(len(message.runs))
            case PartialEmitted():
                self._runs.emit(message.run, message.text)
            case RunDropped():
                self._runs.end(message.run, RefusedError("it was cancelled before it began"))
            case EngineFinished():
                self._runs.end(message.run, message.result)
                self._failed_jobs.clear()
            case EngineFailed():
                self._end_failed(message.run, _as_error(message))
            case _:
                assert_never(message)
        if self._is_retiring and not self._runs:
            self._is_killed = True
            self._kill()

    def _end_failed(self, number: int, error: Exception) -> None:
        """One job may be bad, some in a row say that the engine is: it gets no more runs, and is loaded anew."""
        run = self._runs.end(number, error)
        if run and isinstance(error, EngineFailedError):
            self._failed_jobs.add(run.work.job_id)
        if len(self._failed_jobs) >= MAX_FAILED_JOBS and not self._is_retiring:
            logger.warning("engine %s failed %d jobs in a row: it is loaded anew", self._load.engine, MAX_FAILED_JOBS)
            self._is_retiring = True
            self._set(ReplicaState.LOADING)

    def _bury(self, status: int | None, nonsense: str) -> None:
        """Fail the runs, if there are any, since their process ended, and count a load that did not succeed."""
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        how += nonsense
        self._runs.end_all(how)
        if not self._is_loaded:
            self._failed_loads += 1
            self.why = self.why or f"the engine's process ended with {how} while loading"
        if not self._is_killed:
            logger.warning("the process of engine %s ended with %s", self._load.engine, how)
        self._rest.touch()
        if self.state is not ReplicaState.UNLOADED:
            self._set(ReplicaState.LOADING)

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

    def _set(self, state: ReplicaState) -> None:
        if self.state is not ReplicaState.STOPPED:
            self.state = state
        self._changed.set()


def _write(process: Process, message: ToProcess) -> asyncio.StreamWriter:
    assert process.stdin is not None  # noqa: S101  # it was made with a pipe
    process.stdin.write(encode_frame(message))
    return process.stdin


def _as_error(message: EngineFailed) -> Exception:
    if message.missing_service:
        return ModelNotAvailableError(message.missing_service, message.message)
    return RefusedError(message.message) if message.is_refusal else EngineFailedError(message.message)
