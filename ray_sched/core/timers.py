"""Time as data: what is due when. Never reads a clock; the caller passes ``now_ms``.

:class:`DueQueue` holds one due time per key and answers which are due, in order, in logarithmic time.
:class:`Schedule` is the Timer actor's brain: which ticks are due, and when the next one is.
"""

import heapq
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct

KeyT = TypeVar("KeyT", bound=Hashable)
_COMPACT_ABOVE = 64


class DueQueue(Generic[KeyT]):
    """At most one due time per key; setting it again moves it."""

    def __init__(self) -> None:
        self._due_at: dict[KeyT, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, KeyT]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._due_at)

    def set(self, key: KeyT, at_ms: int) -> None:
        """The key is due at this time, and at no other."""
        self._count += 1
        self._due_at[key] = (at_ms, self._count)
        heapq.heappush(self._heap, (at_ms, self._count, key))
        if len(self._heap) > 2 * len(self._due_at) + _COMPACT_ABOVE:
            self._heap = [(at, n, k) for k, (at, n) in self._due_at.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: KeyT) -> None:
        """The key is not due any more."""
        self._due_at.pop(key, None)

    def pop_due(self, now_ms: int) -> list[KeyT]:
        """Remove and return the keys due by now, earliest first."""
        due = []
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, n, key = heapq.heappop(self._heap)
            if self._due_at.get(key) == (at_ms, n):
                del self._due_at[key]
                due.append(key)
        return due


class Tick(Struct, frozen=True):
    """A tick that an actor is sent again and again."""

    actor: str
    """Name of the actor that it is sent to."""
    what: str
    """Which of the actor's ticks."""
    every_ms: int


class Schedule:
    """When each tick is due. A tick that was missed is sent once, not as often as it was missed."""

    def __init__(self, ticks: Iterable[Tick], now_ms: int) -> None:
        self._due: DueQueue[Tick] = DueQueue()
        self._next_at: dict[Tick, int] = {}
        for tick in ticks:
            self._set(tick, now_ms + tick.every_ms)

    def due(self, now_ms: int) -> list[Tick]:
        """The ticks to send now; each is set again."""
        ticks = self._due.pop_due(now_ms)
        for tick in ticks:
            in_rhythm_ms = self._next_at[tick] + tick.every_ms
            self._set(tick, in_rhythm_ms if in_rhythm_ms > now_ms else now_ms + tick.every_ms)
        return ticks

    def next_due_ms(self) -> int:
        """When the next tick is due. Raises ValueError without ticks."""
        return min(self._next_at.values())

    def _set(self, tick: Tick, at_ms: int) -> None:
        self._next_at[tick] = at_ms
        self._due.set(tick, at_ms)
