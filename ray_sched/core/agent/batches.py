"""Which of the runs that wait for a model go into its next pass.

A pass is one call of the engine: of one run, or of a batch whose runs may share it. What comes during a pass goes into
the next one, so an idle model waits for nothing, and a busy one gathers by itself; only ``max_batch_wait_ms`` makes an
idle model wait for company. The run that has waited longest is never passed over for longer than that. A run that is
alone has the model for itself: nothing runs beside it, in its pass or in another. Nothing here knows what runs do, nor
the time.
"""

from collections.abc import Hashable, Iterable

from msgspec import Struct


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How much may share a pass, and how long it is waited for."""

    max_batch: int = 1
    """Runs in a pass."""
    max_batch_audio_ms: int = 0
    """Their audio together, 0: any; a single run may have more."""
    max_batch_wait_ms: int = 0
    """How long a run waits for others to share its pass while the model is idle."""


class _Waiting(Struct, frozen=True):
    """A run that has not begun."""

    key: Hashable
    audio_ms: int
    since_ms: int
    is_alone: bool


class PassQueue:
    """The runs of one model: they wait in order of arrival, then they are in a pass, then they are forgotten."""

    def __init__(self, limits: BatchLimits, at_once: int) -> None:
        """``at_once``: how many passes there may be at the same time."""
        self._limits = limits
        self._at_once = at_once
        self._waiting: dict[int, _Waiting] = {}
        self._n_passes = 0
        self._is_alone = False
        """The one pass there is must stay the only one."""

    def add(self, run: int, key: Hashable, audio_ms: int, now_ms: int, *, is_alone: bool = False) -> None:
        """A run has come; it may share a pass with those of an equal key."""
        self._waiting[run] = _Waiting(key, audio_ms, now_ms, is_alone)

    def drop(self, run: int) -> bool:
        """The run is not wanted any more. False: it does not wait."""
        return self._waiting.pop(run, None) is not None

    def begin(self, now_ms: int) -> tuple[int, ...]:
        """The runs of the pass that begins now; none if there is nothing to begin. Call ``end`` when it is over."""
        runs = self._next(now_ms)
        if runs:
            self._n_passes += 1
            self._is_alone = self._waiting[runs[0]].is_alone
            for run in runs:
                del self._waiting[run]
        return runs

    def end(self) -> None:
        """A pass is over."""
        self._n_passes -= 1
        self._is_alone = False

    @property
    def due_at_ms(self) -> int | None:
        """When to call ``begin`` again though nothing has come or ended: a wait for company is over. None: never."""
        if self._is_blocked:
            return None
        first = next(iter(self._waiting.values()), None)
        return first.since_ms + self._limits.max_batch_wait_ms if first and not first.is_alone else None

    @property
    def _is_blocked(self) -> bool:
        return self._n_passes == self._at_once or self._is_alone

    def _next(self, now_ms: int) -> tuple[int, ...]:
        if self._is_blocked:
            return ()
        seen: set[Hashable] = set()
        for run, waiting in self._waiting.items():
            if waiting.is_alone:
                return () if self._n_passes else (run,)  # those behind it wait with it, or it would never be alone
            if waiting.key not in seen:
                seen.add(waiting.key)
                runs, is_full = self._gather(waiting.key)
                if is_full or now_ms - waiting.since_ms >= self._limits.max_batch_wait_ms:
                    return runs
        return ()

    def _gather(self, key: Hashable) -> tuple[tuple[int, ...], bool]:
        """The oldest runs of a key that fit into one pass, and whether nothing more would."""
        limits, audio_ms = self._limits, 0
        runs: list[int] = []
        for run, waiting in self._of(key):
            audio_ms += waiting.audio_ms
            if runs and 0 < limits.max_batch_audio_ms < audio_ms:
                return tuple(runs), True
            runs.append(run)
            if len(runs) == limits.max_batch:
                return tuple(runs), True
        return tuple(runs), False

    def _of(self, key: Hashable) -> Iterable[tuple[int, _Waiting]]:
        return ((run, one) for run, one in self._waiting.items() if one.key == key and not one.is_alone)
