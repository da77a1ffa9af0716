"""What those ask and are answered with who want to know what has happened. They need nothing of the brain."""

from msgspec import Struct


class Told(Struct, frozen=True, kw_only=True):
    """What was said of the lines; what is empty was not said."""

    job_id: str = ""
    session: str = ""
    node: str = ""
    since_ms: int = 0
    """Only what happened at most so long ago; 0: all that is known."""
    after: int = 0
    """Only what happened after the line of this number."""
    limit: int = 1_000
    """The newest so many."""


class StoryRow(Struct, frozen=True, kw_only=True):
    """One thing that has happened."""

    number: int
    """Counts all lines since the Dispatcher began; 0: from a job's own record."""
    at_ms: int
    """By the scheduler's clock, since 1970."""
    what: str
    """The kind of it: ``submitted``, ``assigned``, ``accepted``, ``ran``, ``requeued``, ``ended``, ``node_left``..."""
    text: str
    job_id: str
    attempt: int
    node: str
    session: str


class Story(Struct, frozen=True, kw_only=True):
    """The lines, the oldest first."""

    rows: tuple[StoryRow, ...]
    last: int
    """To be asked for what comes after."""
    is_over: bool
    """The job that was asked about has ended."""
