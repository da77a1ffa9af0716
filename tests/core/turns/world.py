"""A session with what is around it: held samples, a detector that may be late, jobs that end when a test says so."""

from msgspec import Struct

from ray_sched.core.errors import Refusal
from ray_sched.core.turns.brain import TurnBrain
from ray_sched.core.turns.effects import (
    CancelPiece,
    DropAudio,
    SetTimer,
    SubmitPiece,
    TellCommitted,
    TellCompleted,
    TellFailed,
    TellPiece,
    TellStarted,
    TellTimeout,
    TurnEffect,
)
from ray_sched.core.turns.events import AudioArrived, PieceEnded, TimerFired, TurnEvent, WindowsJudged
from ray_sched.core.turns.rules import WINDOW_SAMPLES, TurnRules

SPEECH, UNSURE, SILENCE = 0.9, 0.4, 0.05


class Jobs(Struct):
    """The pieces that were submitted."""

    spans: dict[str, tuple[int, int]] = {}
    running: list[str] = []
    n_submits: dict[str, int] = {}


class Session:
    """Drives a brain, and keeps what it has said."""

    def __init__(self, **rules: object) -> None:
        self.brain = TurnBrain("s", TurnRules(**rules))  # type: ignore[arg-type]  # whatever a test says
        self.now_ms = 0
        self.told: list[TurnEffect] = []
        self.jobs = Jobs()
        self.dropped = 0
        self.timers: dict[str, SetTimer] = {}
        self.past_timers: list[SetTimer] = []
        self.started: dict[str, int] = {}
        self.committed: list[TellCommitted] = []
        self.timeouts: set[str] = set()
        self.ended: list[str] = []
        self.pieces_told: list[str] = []

    def do(self, event: TurnEvent) -> list[TurnEffect]:
        """What comes of an event. Fails if it is what must never be."""
        effects = self.brain.handle(event, self.now_ms)
        for effect in effects:
            self._carry_out(effect)
        return effects

    def _carry_out(self, effect: TurnEffect) -> None:  # noqa: C901  # one case for each effect
        match effect:
            case SubmitPiece(piece, _, begin, end):
                assert self.dropped <= begin < end <= self.brain.end, "the samples of a piece are there"
                assert self.jobs.spans.setdefault(piece, (begin, end)) == (begin, end), "the same piece is the same job"
                assert piece not in self.jobs.running
                self.jobs.running.append(piece)
                self.jobs.n_submits[piece] = self.jobs.n_submits.get(piece, 0) + 1
            case CancelPiece(piece):
                if piece in self.jobs.running:
                    self.jobs.running.remove(piece)
            case DropAudio(before):
                assert self.dropped < before <= self.brain.end
                self.dropped = before
            case SetTimer(timer):
                if timer in self.timers:
                    self.past_timers.append(self.timers[timer])
                self.timers[timer] = effect
            case TellStarted(item, at):
                self.started[item] = at
            case TellTimeout(item):
                self.timeouts.add(item)
            case TellCommitted():
                assert effect.previous == (self.committed[-1].item if self.committed else None)
                self.committed.append(effect)
            case TellPiece(_, piece):
                self.pieces_told.append(piece)
            case TellCompleted(item) | TellFailed(item):
                assert item not in self.ended, "an item ends once"
                self.ended.append(item)
                assert self.ended == [one.item for one in self.committed[: len(self.ended)]], "items end in order"
        self.told.append(effect)

    def hear(self, *probabilities: float) -> list[TurnEffect]:
        """Audio of so many windows comes and is judged, 32 ms each."""
        effects: list[TurnEffect] = []
        for probability in probabilities:
            self.now_ms += 32
            effects += self.do(AudioArrived(WINDOW_SAMPLES))
            effects += self.judge(probability)
        return effects

    def judge(self, *probabilities: float) -> list[TurnEffect]:
        """The detector has judged the next windows."""
        return self.do(WindowsJudged(self.brain.judged, probabilities))

    def end_piece(self, piece: str, refusal: Refusal | None = None) -> list[TurnEffect]:
        """A job has ended."""
        if piece in self.jobs.running:
            self.jobs.running.remove(piece)
        return self.do(PieceEnded(piece, refusal))

    def fire(self, timer: str) -> list[TurnEffect]:
        """A timer fires in time."""
        fired = self.timers.pop(timer)
        self.now_ms += fired.after_ms
        return self.do(TimerFired(timer, fired.generation))


def kinds(effects: list[TurnEffect]) -> list[str]:
    """The names of the effects, without those about memory and time."""
    return [type(effect).__name__ for effect in effects if not isinstance(effect, DropAudio | SetTimer)]
