"""What a session is told, by its client, its voice detector, its jobs and its timers."""

from msgspec import Struct

from ray_sched.core.errors import Refusal
from ray_sched.core.turns.effects import TimerKey
from ray_sched.core.turns.rules import TurnRules


class AudioArrived(Struct, frozen=True, gc=False):
    """The client has sent so many samples more; the shell holds them."""

    n_samples: int


class WindowsJudged(Struct, frozen=True):
    """The detector has judged the next windows. ``first`` is the position of the first sample of the first of them."""

    first: int
    probabilities: tuple[float, ...]


class RulesChanged(Struct, frozen=True):
    """The client wants turns to be found in another way from now on."""

    rules: TurnRules


class CommitAsked(Struct, frozen=True, gc=False):
    """The client says that an utterance ends here."""


class ClearAsked(Struct, frozen=True, gc=False):
    """The client takes back the audio that is in no utterance yet."""


class CloseAsked(Struct, frozen=True, gc=False):
    """The client has said all: what is there is answered, then the session ends."""


class DrainAsked(Struct, frozen=True, gc=False):
    """The gateway ends: the utterance that is being spoken may end within ``within_ms``, no other one begins."""

    within_ms: int


class LinkChanged(Struct, frozen=True, gc=False):
    """The client's connection is cut, or there again. While it is cut, missing audio ends no utterance."""

    is_up: bool


class PieceHeard(Struct, frozen=True):
    """A partial text of a piece; the next one, or the final text, supersedes it."""

    piece: str
    text: str


class PieceEnded(Struct, frozen=True):
    """The job of a piece has its final result, which the shell holds; ``refusal`` says why there is none."""

    piece: str
    refusal: Refusal | None = None


class AnswerSent(Struct, frozen=True, gc=False):
    """So much speech of ours was sent to the client, which plays it after all that was sent before."""

    duration_ms: int


class TimerFired(Struct, frozen=True, gc=False):
    """A timer that was set; one of an old generation is ignored."""

    timer: TimerKey
    generation: int


TurnEvent = (
    AudioArrived
    | WindowsJudged
    | RulesChanged
    | CommitAsked
    | ClearAsked
    | CloseAsked
    | DrainAsked
    | LinkChanged
    | PieceHeard
    | PieceEnded
    | AnswerSent
    | TimerFired
)
