"""A priority queue, smallest key first, whose members' keys may grow unnoticed.

A member whose key has become smaller has to be enqueued again; one that has grown, or a member that
belongs here no more, is noticed when it comes to the head. Every operation costs logarithmic time. It never compares
members: keys are unique.
"""

import heapq
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=tuple[Any, ...])
MemberT = TypeVar("MemberT", bound=Hashable)

_COMPACT_ABOVE = 64


class PriorityQueue(Generic[KeyT, MemberT]):
    """Each member once, in the order of its key. ``key_of`` answers None for one that belongs here no more."""

    def __init__(self, key_of: Callable[[MemberT], KeyT | None]) -> None:
        self._key_of = key_of
        self._key: dict[MemberT, KeyT] = {}
        self._heap: list[tuple[KeyT, MemberT]] = []

    def enqueue(self, member: MemberT) -> bool:
        """Add a member, or note that its key may have become smaller. False: nothing has changed, nor has the head."""
        key = self._key_of(member)
        if key is None:
            return False
        before = self._key.get(member)
        if before is not None and before <= key:
            return False
        self._key[member] = key
        heapq.heappush(self._heap, (key, member))
        if len(self._heap) > 2 * len(self._key) + _COMPACT_ABOVE:
            self._heap = [(key, member) for member, key in self._key.items()]
            heapq.heapify(self._heap)
        return True

    def remove(self, member: MemberT) -> None:
        """Remove a member; nothing happens if it is not here."""
        self._key.pop(member, None)

    def clear(self) -> None:
        """Remove all members."""
        self._key.clear()
        self._heap.clear()

    def head(self) -> tuple[KeyT, MemberT] | None:
        """The first member and its key, None if there is none."""
        heap = self._heap
        asked: MemberT | None = None
        while heap:
            key, member = entry = heap[0]
            if self._key.get(member) != key:
                heapq.heappop(heap)
                continue
            now = key if member is asked else self._key_of(member)
            if now == key:
                return entry
            if now is None:
                heapq.heappop(heap)
                del self._key[member]
            else:
                heapq.heapreplace(heap, (now, member))
                self._key[member] = now
                asked = member  # once is enough: in queues of queues twice would double at each level
        return None

    def last_head(self) -> MemberT:
        """The member that :meth:`head` found last. Only for one who knows that nothing has changed since."""
        return self._heap[0][1]

    def __len__(self) -> int:
        return len(self._key)
