"""Everything that can go wrong, with its code, its exit status and the sentence that tells the user what to do.

An expected "no" travels as a :class:`Refusal` value; it becomes a :class:`SchedError` only where a caller of the
Python library has to be interrupted. Surprises are ordinary exceptions and are never turned into one of these.
"""

from enum import StrEnum, auto
from typing import NamedTuple

from msgspec import Struct

from ray_sched.core.plain import plain


class Code(StrEnum):
    """Stable error codes; users may match on them."""

    INVALID_MESSAGE = "INVALID_MESSAGE"
    INVALID_AUDIO = "INVALID_AUDIO"
    INVALID_LANGUAGE = "INVALID_LANGUAGE"
    DUPLICATE_REQUEST = "DUPLICATE_REQUEST"
    DUPLICATE_INDEX = "DUPLICATE_INDEX"
    OVERLOADED = "OVERLOADED"
    NO_AVAILABLE_NODE = "NO_AVAILABLE_NODE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    JOB_TIMEOUT = "JOB_TIMEOUT"
    NODE_LOST = "NODE_LOST"
    NODE_REFUSED = "NODE_REFUSED"
    PUSH_TIMEOUT = "PUSH_TIMEOUT"
    PUSH_FAILED = "PUSH_FAILED"
    MODEL_NOT_AVAILABLE = "MODEL_NOT_AVAILABLE"
    ENGINE_FAILED = "ENGINE_FAILED"
    ENGINE_CRASHED = "ENGINE_CRASHED"
    POISON_JOB = "POISON_JOB"
    CANCELLED = "CANCELLED"
    CLIENT_GONE = "CLIENT_GONE"
    CLIENT_REPLACED = "CLIENT_REPLACED"
    UNKNOWN_JOB = "UNKNOWN_JOB"
    UNKNOWN_NODE = "UNKNOWN_NODE"
    SCHEDULER_DEPENDENCY_DOWN = "SCHEDULER_DEPENDENCY_DOWN"
    SCHEDULER_NOT_RUNNING = "SCHEDULER_NOT_RUNNING"
    NO_CLUSTER = "NO_CLUSTER"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INVALID_CONFIGURATION = "INVALID_CONFIGURATION"
    PORT_IN_USE = "PORT_IN_USE"
    MISSING_PART = "MISSING_PART"
    SHUTTING_DOWN = "SHUTTING_DOWN"


class About(StrEnum):
    """What a failure is about. It decides what becomes of the same request id when it is submitted again."""

    JOB = auto()
    """The job itself: it would fail again, so the same request id is answered with the same failure."""
    CLUSTER = auto()
    """The nodes, the scheduler or the time: the same request id is a new job."""
    CLIENT = auto()
    """What its client did or did not do, such as to cancel it: the same request id is a new job."""


class _Facts(NamedTuple):
    exit_status: int
    about: About


_FACTS: dict[Code, _Facts] = {
    Code.INVALID_MESSAGE: _Facts(5, About.JOB),
    Code.INVALID_AUDIO: _Facts(3, About.JOB),
    Code.INVALID_LANGUAGE: _Facts(4, About.JOB),
    Code.DUPLICATE_REQUEST: _Facts(5, About.JOB),
    Code.DUPLICATE_INDEX: _Facts(5, About.JOB),
    Code.OVERLOADED: _Facts(8, About.CLUSTER),
    Code.NO_AVAILABLE_NODE: _Facts(7, About.CLUSTER),
    Code.DEADLINE_EXCEEDED: _Facts(9, About.CLUSTER),
    Code.JOB_TIMEOUT: _Facts(1, About.JOB),
    Code.NODE_LOST: _Facts(1, About.CLUSTER),
    Code.NODE_REFUSED: _Facts(1, About.CLUSTER),
    Code.PUSH_TIMEOUT: _Facts(1, About.CLUSTER),
    Code.PUSH_FAILED: _Facts(1, About.CLUSTER),
    Code.MODEL_NOT_AVAILABLE: _Facts(1, About.CLUSTER),
    Code.ENGINE_FAILED: _Facts(1, About.JOB),
    Code.ENGINE_CRASHED: _Facts(1, About.JOB),
    Code.POISON_JOB: _Facts(17, About.JOB),
    Code.CANCELLED: _Facts(1, About.CLIENT),
    Code.CLIENT_GONE: _Facts(1, About.CLIENT),
    Code.CLIENT_REPLACED: _Facts(1, About.CLIENT),
    Code.UNKNOWN_JOB: _Facts(6, About.CLIENT),
    Code.UNKNOWN_NODE: _Facts(6, About.CLIENT),
    Code.SCHEDULER_DEPENDENCY_DOWN: _Facts(13, About.CLUSTER),
    Code.SCHEDULER_NOT_RUNNING: _Facts(11, About.CLUSTER),
    Code.NO_CLUSTER: _Facts(10, About.CLUSTER),
    Code.UNAUTHENTICATED: _Facts(12, About.CLUSTER),
    Code.INVALID_CONFIGURATION: _Facts(14, About.CLUSTER),
    Code.PORT_IN_USE: _Facts(15, About.CLUSTER),
    Code.MISSING_PART: _Facts(16, About.CLUSTER),
    Code.SHUTTING_DOWN: _Facts(1, About.CLUSTER),
}
EXIT_STATUS: dict[Code, int] = {code: facts.exit_status for code, facts in _FACTS.items() if facts.exit_status != 1}
"""Exit status of the command line by code. 1 is every other failed job, 2 a wrong command line, 130 Ctrl-C."""
ABOUT: dict[Code, About] = {code: facts.about for code, facts in _FACTS.items()}
"""What each code is about. A job that has timed out on several nodes is to blame as one that their engines reject."""


class Refusal(Struct, frozen=True, kw_only=True, gc=False):
    """An expected "no": the code, one sentence that says what to do, and when to come back if that helps."""

    code: Code
    message: str
    retry_after_ms: int = 0
    """Milliseconds after which the same call may succeed; 0 means: not by waiting."""


def printable(text: str) -> str:
    """Without half characters, which stand for the bytes of a file's name that are no text: it can travel anywhere."""
    return text.encode(errors="backslashreplace").decode()


class SchedError(Exception):
    """A refusal that interrupts the caller. ``str(error)`` is one sentence for people, ``error.code`` for programs."""

    def __init__(self, code: Code, message: str, retry_after_ms: int = 0) -> None:
        text = printable(message)
        super().__init__(plain(text))
        self.code = code
        self.message = text
        self.retry_after_ms = retry_after_ms

    def __reduce__(self) -> tuple[type["SchedError"], tuple[Code, str, int]]:
        """Keep code and sentence when the error crosses a process."""
        return SchedError, (self.code, self.message, self.retry_after_ms)

    @classmethod
    def of(cls, refusal: Refusal) -> "SchedError":
        """The exception for a refusal."""
        return cls(refusal.code, refusal.message, refusal.retry_after_ms)

    @property
    def refusal(self) -> Refusal:
        """The refusal that this exception is of."""
        return Refusal(code=self.code, message=self.message, retry_after_ms=self.retry_after_ms)

    @property
    def exit_status(self) -> int:
        """What the command line exits with."""
        return EXIT_STATUS.get(self.code, 1)
