"""What has happened lately, to jobs and to nodes: the newest lines, numbered. What is older is forgotten."""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum, auto

from msgspec import Struct

MOST_LINES = 20_000


class What(StrEnum):
    """What kind of thing has happened. Its value is stable; programs may match on it."""

    SUBMITTED = auto()
    ASSIGNED = auto()
    ACCEPTED = auto()
    LOADING = auto()
    LOADED = auto()
    RAN = auto()
    REQUEUED = auto()
    ENDED = auto()
    NODE_JOINED = auto()
    NODE_CHANGED = auto()
    NODE_LEFT = auto()
    NOTED = auto()
    """What a person on call wants to read, and is in the log, too."""


class HistoryLine(Struct, frozen=True, gc=False):
    """One thing that has happened."""

    at_ms: int
    """By the scheduler's clock, since 1970."""
    what: What
    text: str
    """Such as ``assigned to node-a``."""
    job_id: str = ""
    attempt: int = 0
    node: str = ""
    session: str = ""
    trace_id: str = ""


class History:
    """The newest lines. The first one ever has number 1."""

    def __init__(self, most_lines: int = MOST_LINES) -> None:
        self._lines: deque[HistoryLine] = deque(maxlen=most_lines)
        self.last = 0
        """Number of the newest line; 0: none yet."""

    def add(self, lines: Iterable[HistoryLine]) -> None:
        """These have happened, in this order."""
        new = list(lines)
        self._lines.extend(new)
        self.last += len(new)

    def after(self, number: int) -> list[tuple[int, HistoryLine]]:
        """The lines after this one that are still known, the oldest first, each with its number."""
        first = self.last - len(self._lines) + 1
        if number < first:
            return list(enumerate(self._lines, start=first))
        n_new = self.last - number
        newest = [self._lines[-n] for n in range(n_new, 0, -1)]
        return list(enumerate(newest, start=number + 1))
