"""Long work in slices: whoever does it may let others go first at each ``yield``, and at no other place.

What is looked at may change in between, so such work copies the lists that it walks through and expects that what it
knows of a job or a node has become old.
"""

from collections.abc import Generator, Iterable
from heapq import merge
from typing import Any, TypeVar

T = TypeVar("T")
KeyT = TypeVar("KeyT", bound=tuple[Any, ...])

Sliced = Generator[None, None, T]
"""Work that yields after about a quarter of a millisecond, again and again, and returns a T."""

_SORTED_AT_ONCE = 500


def whole(work: Sliced[T]) -> T:
    """Do it to its end, without letting anybody go first."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def sort(keys: Iterable[KeyT]) -> Sliced[list[KeyT]]:
    """These in their order."""
    left = list(keys)
    parts = []
    for first in range(0, len(left), _SORTED_AT_ONCE):
        parts.append(sorted(left[first : first + _SORTED_AT_ONCE]))
        yield
    if len(parts) <= 1:
        return parts[0] if parts else []
    found = []
    for number, key in enumerate(merge(*parts)):
        found.append(key)
        if not number % _SORTED_AT_ONCE:
            yield
    return found
