"""Whatever a client, a detector and jobs do: no sample lost, none in two items, items in order, each ends once."""

from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ray_sched.core.errors import Code, Refusal
from ray_sched.core.turns.effects import TellClosed, TellFailed
from ray_sched.core.turns.events import (
    AnswerSent,
    AudioArrived,
    ClearAsked,
    CloseAsked,
    CommitAsked,
    DrainAsked,
    LinkChanged,
    PieceHeard,
    RulesChanged,
    TimerFired,
)
from ray_sched.core.turns.rules import WINDOW_SAMPLES, TurnRules
from tests.core.turns.world import SILENCE, SPEECH, UNSURE, Session

REFUSALS = [Refusal(code=code, message="no") for code in (Code.OVERLOADED, Code.NODE_LOST, Code.ENGINE_FAILED)]
RULES = st.builds(
    TurnRules,
    is_detected=st.booleans(),
    prefix_ms=st.sampled_from([0, 300, 900]),
    silence_ms=st.sampled_from([64, 500]),
    suffix_ms=st.sampled_from([0, 200]),
    idle_timeout_ms=st.sampled_from([None, 700]),
    cut_ms=st.sampled_from([500, 1_000]),
    search_ms=st.sampled_from([32, 200]),
    is_interruptible=st.booleans(),
)


class Sessions(RuleBasedStateMachine):
    @initialize(rules=RULES)
    def begin(self, rules: TurnRules) -> None:
        self.session = Session()
        self.session.do(RulesChanged(rules))

    @rule(n=st.sampled_from([1, 160, 511, 512, 800, 9_000]), ms=st.integers(0, 400))
    def audio(self, n: int, ms: int) -> None:
        self.session.now_ms += ms
        before, takes = self.session.brain.end, self.session.brain.takes_audio
        self.session.do(AudioArrived(n))
        assert self.session.brain.end == before + (n if takes else 0)

    @rule(probability=st.sampled_from([SPEECH, UNSURE, SILENCE]), most=st.integers(1, 40))
    def judge(self, probability: float, most: int) -> None:
        brain = self.session.brain
        n = min(most, (brain.end - brain.judged) // WINDOW_SAMPLES)
        if n:
            self.session.judge(*[probability] * n)

    @rule()
    def commit(self) -> None:
        self.session.do(CommitAsked())

    @rule()
    def clear(self) -> None:
        self.session.do(ClearAsked())

    @rule(rules=RULES)
    def change(self, rules: TurnRules) -> None:
        self.session.do(RulesChanged(rules))

    @rule(is_up=st.booleans())
    def link(self, is_up: bool) -> None:  # noqa: FBT001  # drawn
        self.session.do(LinkChanged(is_up))

    @rule(ms=st.integers(1, 2_000))
    def answer(self, ms: int) -> None:
        self.session.do(AnswerSent(ms))

    @precondition(lambda self: self.session.jobs.running)
    @rule(data=st.data(), refusal=st.sampled_from([None, None, *REFUSALS]), text=st.booleans())
    def piece(self, data: st.DataObject, refusal: Refusal | None, text: bool) -> None:  # noqa: FBT001  # drawn
        piece = data.draw(st.sampled_from(self.session.jobs.running))
        if text:
            self.session.do(PieceHeard(piece, "so far"))
        else:
            self.session.end_piece(piece, refusal)

    @precondition(lambda self: self.session.jobs.spans)
    @rule(data=st.data(), refusal=st.sampled_from([None, *REFUSALS]))
    def stale_end(self, data: st.DataObject, refusal: Refusal | None) -> None:
        """A job that was cancelled, or has ended, is reported all the same."""
        known = [piece for piece in self.session.jobs.spans if piece not in self.session.jobs.running]
        if known and not self.session.timers.get(known[0]):
            self.session.end_piece(data.draw(st.sampled_from(known)), refusal)

    @precondition(lambda self: self.session.timers)
    @rule(data=st.data())
    def timer(self, data: st.DataObject) -> None:
        self.session.fire(data.draw(st.sampled_from(sorted(self.session.timers))))

    @precondition(lambda self: self.session.past_timers)
    @rule(data=st.data())
    def stale_timer(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.session.past_timers))
        assert not [
            effect
            for effect in self.session.do(TimerFired(old.timer, old.generation))
            if not isinstance(effect, TellFailed)
        ]

    @rule()
    def drain(self) -> None:
        self.session.do(DrainAsked(1_000))

    @invariant()
    def no_sample_is_in_two_items_or_two_pieces(self) -> None:
        spans = sorted(self.session.jobs.spans.values())
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        items = [(one.begin, one.end) for one in self.session.committed if one.item not in self.session.timeouts]
        assert all(one[1] <= other[0] for one, other in pairwise(items))

    @invariant()
    def every_sample_of_an_item_that_has_ended_well_was_in_its_pieces(self) -> None:
        failed = {one.item for one in self.session.told if isinstance(one, TellFailed)}
        for one in self.session.committed:
            if one.item in self.session.ended and one.item not in failed:
                pieces = [span for name, span in self.session.jobs.spans.items() if name.startswith(f"{one.item}.")]
                assert sum(end - begin for begin, end in pieces) == one.end - one.begin
                assert not pieces or (pieces[0][0], pieces[-1][1]) == (one.begin, one.end)

    @invariant()
    def what_was_said_to_have_begun_begins_there(self) -> None:
        for one in self.session.committed:
            assert self.session.started.get(one.item, one.begin) == one.begin

    def teardown(self) -> None:
        """The client says all; everything that was committed ends, and then the session does."""
        if not hasattr(self, "session"):
            return
        session = self.session
        session.do(LinkChanged(is_up=True))
        session.do(CloseAsked())
        n_left = (session.brain.end - session.brain.judged) // WINDOW_SAMPLES
        session.judge(*[SILENCE] * n_left)
        for _ in range(1_000):
            if session.brain.is_closed:
                break
            for piece in list(session.jobs.running):
                session.end_piece(piece)
            waiting = [name for name in session.timers if name in session.jobs.spans]
            for name in waiting:
                session.fire(name)
        assert isinstance(session.told[-1], TellClosed) or TellClosed() in session.told
        assert session.ended == [one.item for one in session.committed]
        assert not session.jobs.running


TestSessions = Sessions.TestCase
