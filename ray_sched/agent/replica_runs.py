"""The runs in one replica's process, as its agent knows them: who waits for each, and who is to blame for its death."""

import asyncio
from collections.abc import Callable, Collection
from itertools import count

from ray_sched.agent.audio_memory import AudioMemory
from ray_sched.agent.engine import EngineResult, RefusedError, Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.replicas import settle
from ray_sched.wire.samples import Samples


class Run:
    """One run, which holds a slot until it is over."""

    __slots__ = ("emit_partial", "n_bytes", "number", "outcome", "over", "place", "work")

    def __init__(self, number: int, work: Work, place: int, n_bytes: int, emit_partial: Callable[[str], None]) -> None:
        self.number = number
        self.work = work
        self.place = place
        """Of its audio."""
        self.n_bytes = n_bytes
        self.emit_partial = emit_partial
        self.outcome: asyncio.Future[EngineResult] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()


class ReplicaRuns:
    """The runs that hold a slot of one process, and a place in the memory they share. No number is used again."""

    def __init__(self, slots: int, changed: asyncio.Event, *, is_batched: bool) -> None:
        """``changed`` is set when a slot becomes free; ``is_batched``: runs are gathered, and do not begin at once."""
        self._slots = slots
        self._changed = changed
        self._is_batched = is_batched
        self._numbers = count()
        self._runs: dict[int, Run] = {}
        self.memory = AudioMemory(slots)
        self._places = list(range(slots))
        self._pass: Collection[int] = ()
        """The last pass that was reported."""

    def __len__(self) -> int:
        return len(self._runs)

    def open(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> Run:
        """A new run holds a slot, and its audio is where the process can read it. Raises EngineFailedError."""
        place = self._places.pop()
        try:
            n_bytes = self.memory.put(place, audio)
        except OSError as error:
            self._places.append(place)
            raise EngineFailedError(f"there is no memory for the audio: {error.strerror}") from error
        run = Run(next(self._numbers), work, place, n_bytes, emit_partial)
        self._runs[run.number] = run
        return run

    def begin_pass(self, numbers: Collection[int]) -> None:
        """These runs, and no others, are in the model now."""
        self._pass = numbers

    def emit(self, number: int, text: str) -> None:
        """A partial of a run; nobody cares any more once it was cancelled or has ended."""
        run = self._runs.get(number)
        if run and not run.outcome.done():
            run.emit_partial(text)

    def end(self, number: int, outcome: EngineResult | Exception) -> Run | None:
        """A run is over and its slot is free; None: it was already. What a cancelled one brings is thrown away."""
        run = self._runs.pop(number, None)
        if run is not None:
            self.memory.release(run.place, run.n_bytes)
            self._places.append(run.place)
            settle(run.outcome, outcome)
            run.over.set()
            self._changed.set()
        return run

    def end_all(self, how: str) -> None:
        """The process has ended: those in its pass have crashed it, one of them or all; the others had not begun."""
        blamed = self._in_pass()
        for number in list(self._runs):
            self.end(number, _crash(how, len(blamed)) if number in blamed else _spared(how))

    def cancel_all(self) -> None:
        """The replica is stopped: whoever waits gets asyncio.CancelledError."""
        for run in list(self._runs.values()):
            run.outcome.cancel()
            self.end(run.number, RefusedError("the engine was stopped"))

    def _in_pass(self) -> set[int]:
        """With many slots, batches and runs that have a pass for themselves are reported; all others run at once."""
        if self._slots == 1:
            return set(self._runs)
        reported = {number for number in self._pass if number in self._runs}
        if reported or self._is_batched:
            return reported
        own = {number for number, run in self._runs.items() if run.work.has_own_pass}
        return set(self._runs) - own


def _crash(how: str, n_blamed: int) -> EngineCrashedError:
    beside = f", with {n_blamed - 1} others" if n_blamed > 1 else ""
    return EngineCrashedError(
        f"the engine's process ended with {how} in the middle of a run{beside}", was_alone=n_blamed == 1
    )


def _spared(how: str) -> RefusedError:
    return RefusedError(f"the engine's process ended with {how} before this run had begun")
