"""Whose turn it is in a session: submissions are asked for in the order in which they were opened.

The Dispatcher numbers what has no index of its own in the order in which it is asked. So a submission whose audio has
to be read first, for its digest, holds up the later ones of its session, and of no other.
"""

from collections import deque

from msgspec import structs

from ray_sched.core.messages.client_dispatcher import JobSpec


class Turns:
    """Submissions by number that wait for their turn, oldest first, by session."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[int]] = {}
        self._ready: set[int] = set()
        self._first: dict[str, int] = {}

    def begin_session(self, session: str, first_index: int) -> None:
        """What is opened from now on in this session awaits nothing before that index."""
        self._first[session] = first_index

    def end_session(self, session: str) -> None:
        """Forget where it begins."""
        self._first.pop(session, None)

    def with_first_index(self, spec: JobSpec) -> JobSpec:
        """The description with the index at which its session begins, if the user has named one."""
        first = self._first.get(spec.session)
        return spec if first is None else structs.replace(spec, first_index=first)

    def open(self, number: int, spec: JobSpec) -> None:
        """A submission is made."""
        if _has_turn(spec):
            self._waiting.setdefault(spec.session, deque()).append(number)

    def ready(self, number: int, spec: JobSpec) -> list[int]:
        """A submission may be asked for. Returns those whose turn has come, in order."""
        if not _has_turn(spec):
            return [number]
        self._ready.add(number)
        return self._next(spec.session)

    def leave(self, number: int, spec: JobSpec) -> list[int]:
        """A submission has ended. Returns those whose turn has come, now that it does not wait any more, in order."""
        queue = self._waiting.get(spec.session)
        if not queue or number not in queue:
            return []
        queue.remove(number)
        self._ready.discard(number)
        return self._next(spec.session)

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
        self._ready.clear()

    def _next(self, session: str) -> list[int]:
        queue = self._waiting[session]
        numbers = []
        while queue and queue[0] in self._ready:
            numbers.append(queue.popleft())
        self._ready.difference_update(numbers)
        if not queue:
            del self._waiting[session]
        return numbers


def _has_turn(spec: JobSpec) -> bool:
    return bool(spec.session) and spec.utterance_index is None
