"""What the shell of a session does: jobs, timers, audio, and what the client is told, in this order."""

from msgspec import Struct

from ray_sched.core.errors import Refusal

TimerKey = str
"""``idle``, ``stall``, ``drain``, or the name of a piece that is tried again."""


class SubmitPiece(Struct, frozen=True):
    """Submit these samples as a job; the same piece again is the same job. ``PieceEnded`` reports back, always."""

    piece: str
    item: str
    begin: int
    end: int


class CancelPiece(Struct, frozen=True):
    """Nobody wants the result of this piece any more; what is reported of it is ignored."""

    piece: str


class DropAudio(Struct, frozen=True, gc=False):
    """Samples before this position are needed by nobody."""

    before: int


class SetTimer(Struct, frozen=True):
    """Report ``TimerFired`` with this generation after so long; whatever was set for the timer before is void."""

    timer: TimerKey
    generation: int
    after_ms: int


class TellStarted(Struct, frozen=True):
    """Somebody speaks. ``at``: the first sample of the utterance, with its padding."""

    item: str
    at: int


class TellStopped(Struct, frozen=True):
    """The utterance has ended. ``at``: the sample behind its last one."""

    item: str
    at: int


class TellTimeout(Struct, frozen=True):
    """Nobody has spoken from here to there; an item without audio stands for it."""

    item: str
    begin: int
    end: int


class TellCommitted(Struct, frozen=True):
    """The item is complete and takes its place in the conversation, behind ``previous``."""

    item: str
    previous: str | None
    begin: int
    end: int


class TellCleared(Struct, frozen=True, gc=False):
    """Audio that was in no item is gone."""


class TellPartial(Struct, frozen=True):
    """What of a piece was recognised so far; all before it was told."""

    item: str
    piece: str
    text: str


class TellPiece(Struct, frozen=True):
    """The piece is final; the shell has its result, and may forget it after this. All before it was told."""

    item: str
    piece: str
    end: int
    """The sample behind its last one."""


class TellCompleted(Struct, frozen=True):
    """All pieces of the item were told. ``n_samples``: the audio of them."""

    item: str
    n_samples: int


class TellFailed(Struct, frozen=True):
    """The item has no text: its pieces were refused, have failed, or were cancelled because somebody spoke."""

    item: str
    refusal: Refusal


class StopAnswer(Struct, frozen=True, gc=False):
    """Somebody speaks while our speech plays: what of it was not sent is not sent."""


class TellClosed(Struct, frozen=True, gc=False):
    """Every item has ended and no other one will come."""


TurnEffect = (
    SubmitPiece
    | CancelPiece
    | DropAudio
    | SetTimer
    | TellStarted
    | TellStopped
    | TellTimeout
    | TellCommitted
    | TellCleared
    | TellPartial
    | TellPiece
    | TellCompleted
    | TellFailed
    | StopAnswer
    | TellClosed
)
