"""Delivery: the order in which a session's results reach its submitter.

Every utterance index of a session goes through the table below. A result is delivered when its index is next; one
that is ready too early is held. When something has been held for ``gap_wait_ms``, what is missing in front of it is
announced as one gap, and delivery goes on behind it. A result that comes after that is delivered marked late: nothing
is ever dropped. An index whose job failed may be tried again: it is awaited anew, or is late where delivery has gone
on behind it. Held results and open gaps are all this keeps, however large the indexes are.
"""

import bisect
from collections.abc import Iterable
from enum import StrEnum, auto
from typing import Generic, TypeVar

from msgspec import Struct

ItemT = TypeVar("ItemT")


class IndexState(StrEnum):
    """Where one utterance index of a session is."""

    AWAITED = auto()
    HELD = auto()
    MISSING = auto()
    DELIVERED = auto()


class IndexEvent(StrEnum):
    """What happens to an utterance index."""

    READY_IN_ORDER = auto()
    READY_EARLY = auto()
    BECAME_NEXT = auto()
    GAP_ANNOUNCED = auto()
    TRIED_AGAIN = auto()


DELIVERY_TABLE: dict[IndexState, dict[IndexEvent, IndexState]] = {
    IndexState.AWAITED: {
        IndexEvent.READY_IN_ORDER: IndexState.DELIVERED,
        IndexEvent.READY_EARLY: IndexState.HELD,
        IndexEvent.GAP_ANNOUNCED: IndexState.MISSING,
    },
    IndexState.HELD: {
        IndexEvent.BECAME_NEXT: IndexState.DELIVERED,
        IndexEvent.TRIED_AGAIN: IndexState.AWAITED,
    },
    IndexState.MISSING: {IndexEvent.READY_IN_ORDER: IndexState.DELIVERED},
    IndexState.DELIVERED: {IndexEvent.TRIED_AGAIN: IndexState.MISSING},
}


class DeliveryError(Exception):
    """The table has no such row: an index would have been delivered twice, or be tried again without having failed."""


class Deliver(Struct, Generic[ItemT], frozen=True):
    """Deliver this item now."""

    item: ItemT
    is_late: bool


class Gap(Struct, frozen=True):
    """Announce that the session goes on without these indexes (inclusive)."""

    first: int
    last: int


class Delivery(Generic[ItemT]):
    """One session's next index and what waits for it."""

    def __init__(self, gap_wait_ms: int) -> None:
        self._gap_wait_ms = gap_wait_ms
        self.next_index = 0
        self._held: dict[int, ItemT] = {}
        self._gaps: list[Gap] = []
        self._held_since_ms: int | None = None

    def state(self, index: int) -> IndexState:
        """Where an index is."""
        if index in self._held:
            return IndexState.HELD
        if index >= self.next_index:
            return IndexState.AWAITED
        return IndexState.DELIVERED if self._gap_of(index) is None else IndexState.MISSING

    def held(self, index: int) -> ItemT | None:
        """The result of an index that waits for an earlier one; None if there is none."""
        return self._held.get(index)

    def ready(self, index: int, item: ItemT, now_ms: int) -> list[Deliver[ItemT] | Gap]:
        """An index has its result. Raises DeliveryError, nothing changed, if it had one before."""
        state = self.state(index)
        event = IndexEvent.READY_EARLY if index > self.next_index else IndexEvent.READY_IN_ORDER
        if event not in DELIVERY_TABLE[state]:
            raise DeliveryError(f"utterance {index} is {state} and cannot become ready again")
        if state is IndexState.MISSING:
            self._fill(index)
            return [Deliver(item, is_late=True)]
        self._held[index] = item
        released: list[Deliver[ItemT] | Gap] = list(self._release())
        if released:
            self._held_since_ms = now_ms if self._held else None
        elif self._held_since_ms is None:
            self._held_since_ms = now_ms
        return released

    def try_again(self, index: int) -> None:
        """The job of an index has failed and is replaced. Raises DeliveryError, nothing changed, if it has no result.

        A result that is held is dropped; what was delivered stays so, and the new result is marked late.
        """
        state = self.state(index)
        if IndexEvent.TRIED_AGAIN not in DELIVERY_TABLE[state]:
            raise DeliveryError(f"utterance {index} is {state} and cannot be tried again")
        if state is IndexState.DELIVERED:
            bisect.insort(self._gaps, Gap(index, index), key=lambda gap: gap.first)
            return
        del self._held[index]
        if not self._held:
            self._held_since_ms = None

    def begin_at(self, index: int) -> list[Deliver[ItemT]]:
        """Nobody awaits what comes before this index. Returns what is released by that, in order.

        What is missing before it is no gap that has to be announced; but a result that comes nevertheless is late.
        """
        released: list[Deliver[ItemT]] = []
        while self.next_index < index:
            next_held = min((held for held in self._held if held < index), default=index)
            if next_held > self.next_index:
                self._gaps.append(Gap(self.next_index, next_held - 1))
                self.next_index = next_held
            released += self._release()
        if not self._held:
            self._held_since_ms = None
        return released

    def resume(self, next_index: int, missing: Iterable[int]) -> None:
        """Begin at this index, as if the ones before it were delivered but for those whose gap was announced."""
        self.next_index = next_index
        self._gaps = [Gap(index, index) for index in sorted(missing)]

    @property
    def due_at_ms(self) -> int | None:
        """When the gap in front of what is held has to be announced; None if nothing is held."""
        return None if self._held_since_ms is None else self._held_since_ms + self._gap_wait_ms

    def announce(self, now_ms: int) -> list[Deliver[ItemT] | Gap]:
        """Announce the gap if it is due, and deliver what waited behind it."""
        if self.due_at_ms is None or now_ms < self.due_at_ms:
            return []
        gap = Gap(self.next_index, min(self._held) - 1)
        self._gaps.append(gap)
        self.next_index = gap.last + 1
        released = self._release()
        self._held_since_ms = now_ms if self._held else None
        return [gap, *released]

    @property
    def n_held(self) -> int:
        """Results that wait for an earlier one."""
        return len(self._held)

    def _release(self) -> list[Deliver[ItemT]]:
        released = []
        while self.next_index in self._held:
            released.append(Deliver(self._held.pop(self.next_index), is_late=False))
            self.next_index += 1
        return released

    def _gap_of(self, index: int) -> int | None:
        """The position in ``_gaps`` of the gap that an index is in; gaps are in their order."""
        where = bisect.bisect_right(self._gaps, index, key=lambda gap: gap.first) - 1
        return where if where >= 0 and index <= self._gaps[where].last else None

    def _fill(self, index: int) -> None:
        """Take one index out of the announced gaps."""
        where = self._gap_of(index)
        if where is None:
            raise DeliveryError(f"utterance {index} is in no gap")
        gap = self._gaps.pop(where)
        rest = [Gap(gap.first, index - 1), Gap(index + 1, gap.last)]
        self._gaps[where:where] = [part for part in rest if part.first <= part.last]
