"""Everything that can go wrong, with its code, its exit status and the sentence that tells the user what to do.

An expected "no" travels as a :class:`Refusal` value; it becomes a :class:`SchedError` only where a caller of the
Python library has to be interrupted. Surprises are ordinary exceptions and are never turned into one of these.
"""

from enum import StrEnum

from msgspec import Struct


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


EXIT_STATUS: dict[Code, int] = {
    Code.INVALID_AUDIO: 3,
    Code.INVALID_LANGUAGE: 4,
    Code.INVALID_MESSAGE: 5,
    Code.DUPLICATE_REQUEST: 5,
    Code.DUPLICATE_INDEX: 5,
    Code.UNKNOWN_JOB: 6,
    Code.UNKNOWN_NODE: 6,
    Code.NO_AVAILABLE_NODE: 7,
    Code.OVERLOADED: 8,
    Code.DEADLINE_EXCEEDED: 9,
    Code.NO_CLUSTER: 10,
    Code.SCHEDULER_NOT_RUNNING: 11,
    Code.UNAUTHENTICATED: 12,
    Code.SCHEDULER_DEPENDENCY_DOWN: 13,
    Code.INVALID_CONFIGURATION: 14,
    Code.PORT_IN_USE: 15,
    Code.MISSING_PART: 16,
    Code.POISON_JOB: 17,
}
"""Exit status of the command line by code. 1 is every other failed job, 2 a wrong command line, 130 Ctrl-C."""


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
        super().__init__(text)
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
