"""A line of members by key, smallest first, whose keys may grow unnoticed.

Each member stands in it once. A key that has become smaller has to be told with :meth:`Line.put`; one that has grown,
or a member that has nothing to stand for any more, is noticed when it comes to the front. Every operation costs
logarithmic time.
"""

import heapq
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=tuple[Any, ...])
MemberT = TypeVar("MemberT", bound=Hashable)

_COMPACT_ABOVE = 64


class PriorityQueue(Generic[KeyT, MemberT]):
    """Members in the order of their keys; ``key_of`` answers None for one that no longer stands. Keys are unique."""

    def __init__(self, key_of: Callable[[MemberT], KeyT | None]) -> None:
        self._key_of = key_of
        self._key: dict[MemberT, KeyT] = {}
        self._heap: list[tuple[KeyT, MemberT]] = []

    def put(self, member: MemberT) -> bool:
        """A member joins, or its key may have become smaller. False: the line is as it was, and so is who is first."""
        key = self._key_of(member)
        if key is None:
            return False
        had = self._key.get(member)
        if had is not None and had <= key:
            return False
        self._key[member] = key
        heapq.heappush(self._heap, (key, member))
        if len(self._heap) > 2 * len(self._key) + _COMPACT_ABOVE:
            self._heap = [(key, member) for member, key in self._key.items()]
            heapq.heapify(self._heap)
        return True

    def drop(self, member: MemberT) -> None:
        """A member leaves."""
        self._key.pop(member, None)

    def clear(self) -> None:
        """Everybody leaves."""
        self._key.clear()
        self._heap.clear()

    def first(self) -> tuple[KeyT, MemberT] | None:
        """Who is first, and its key."""
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
                asked = member  # once is enough: in lines of lines twice would double at each level
        return None

    def front(self) -> MemberT:
        """Who was first when :meth:`first` last found somebody. Only asked if nothing has changed since."""
        return self._heap[0][1]

    def members(self) -> list[MemberT]:
        """Everybody in it, and perhaps some that no longer stand, in no order."""
        return list(self._key)

    def __len__(self) -> int:
        return len(self._key)
