"""One session, fact by fact: what becomes an utterance, and what its client is told."""

import pytest

from ray_sched.core.errors import Code, Refusal
from ray_sched.core.turns.effects import (
    CancelPiece,
    SetTimer,
    SubmitPiece,
    TellCommitted,
    TellCompleted,
    TellFailed,
    TellPartial,
    TellStarted,
    TellStopped,
    TellTimeout,
)
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
    WindowsJudged,
)
from ray_sched.core.turns.rules import WINDOW_SAMPLES, TurnRules
from tests.core.turns.world import SILENCE, SPEECH, UNSURE, Session, kinds

FULL = Refusal(code=Code.OVERLOADED, message="later", retry_after_ms=300)
BROKEN = Refusal(code=Code.ENGINE_FAILED, message="broke")
PUSHED = {"is_detected": False}


def test_speech_between_silence_is_one_item_with_its_padding() -> None:
    session = Session()
    session.hear(*[SILENCE] * 30)
    assert session.hear(SPEECH, SPEECH)[0] == TellStarted("item_s1", 30 * 512 - 4_800)
    effects = session.hear(*[SPEECH] * 20, *[SILENCE] * 16)
    end = 52 * 512 + 3_200
    assert [one for one in effects if not isinstance(one, SetTimer)][:3] == [
        TellStopped("item_s1", end),
        TellCommitted("item_s1", None, 30 * 512 - 4_800, end),
        SubmitPiece("item_s1.0", "item_s1", 30 * 512 - 4_800, end),
    ]
    assert TellCompleted("item_s1", end - 30 * 512 + 4_800) in session.end_piece("item_s1.0")


def test_a_click_and_what_is_between_the_thresholds_begin_nothing() -> None:
    session = Session()
    session.hear(SPEECH, SILENCE, *[UNSURE] * 40, SPEECH, UNSURE, SILENCE)
    assert not session.started


def test_the_second_item_names_the_first_and_takes_its_trailing_silence_as_padding_only() -> None:
    session = Session(prefix_ms=600)
    session.hear(*[SPEECH] * 10, *[SILENCE] * 16, *[SPEECH] * 10, *[SILENCE] * 16)
    first, second = session.committed
    assert (second.previous, second.begin) == (first.item, first.end)


def test_a_push_to_talk_client_commits_and_what_comes_then_is_of_the_next_item() -> None:
    session = Session(**PUSHED)
    session.do(AudioArrived(5_000))
    session.do(CommitAsked())
    session.do(AudioArrived(3_000))
    session.do(CommitAsked())
    assert [(one.begin, one.end, one.previous) for one in session.committed] == [
        (0, 5_000, None),
        (5_000, 8_000, "item_s1"),
    ]


@pytest.mark.parametrize("n_samples", [0, 1_599])
def test_a_commit_of_nothing_makes_no_item_and_keeps_what_there_is(n_samples: int) -> None:
    session = Session(**PUSHED)
    session.do(AudioArrived(n_samples))
    assert session.do(CommitAsked()) == []
    session.do(AudioArrived(1_600))
    session.do(CommitAsked())
    assert [(one.item, one.begin, one.end) for one in session.committed] == [("item_s1", 0, n_samples + 1_600)]


def test_a_commit_where_nobody_has_spoken_makes_no_item() -> None:
    session = Session()
    session.hear(*[SILENCE] * 50)
    assert session.do(CommitAsked()) == []


def test_a_commit_before_the_detector_has_heard_anything_takes_it_all() -> None:
    session = Session()
    session.do(AudioArrived(8_000))
    session.do(CommitAsked())
    assert [(one.begin, one.end) for one in session.committed] == [(0, 8_000)]
    session.do(WindowsJudged(0, (SPEECH,) * 15))
    assert not session.started, "a verdict on what is in an item begins no other one"


def test_a_long_item_is_cut_where_speech_is_least_probable_and_its_pieces_are_told_in_order() -> None:
    session = Session(cut_ms=10_000, search_ms=3_000)
    session.hear(*[SPEECH] * 280, 0.6, *[SPEECH] * 60)
    assert session.jobs.spans == {"item_s1.0": (0, 281 * 512)}
    assert session.do(PieceHeard("item_s1.0", "so")) == [TellPartial("item_s1", "item_s1.0", "so")]
    session.hear(*[SILENCE] * 16)
    assert session.jobs.spans["item_s1.1"][0] == 281 * 512
    assert kinds(session.end_piece("item_s1.1")) == [], "it waits for the piece before it"
    assert session.do(PieceHeard("item_s1.1", "late")) == [], "the final text has superseded it"
    assert kinds(session.end_piece("item_s1.0")) == ["TellPiece", "TellPiece", "TellCompleted"]


def test_what_is_committed_at_once_is_cut_when_the_detector_has_caught_up() -> None:
    session = Session(cut_ms=10_000, search_ms=3_000, **PUSHED)
    session.do(AudioArrived(25 * 16_000))
    session.do(CommitAsked())
    assert not session.jobs.spans
    session.judge(*[SPEECH] * 300, 0.2, *[SPEECH] * 480)
    assert list(session.jobs.spans.values()) == [
        (0, 301 * 512),
        (301 * 512, 613 * 512),
        (613 * 512, 25 * 16_000),
    ]


def test_a_piece_that_is_refused_keeps_its_audio_and_is_submitted_again() -> None:
    session = Session(**PUSHED)
    session.do(AudioArrived(5_000))
    session.do(CommitAsked())
    assert session.end_piece("item_s1.0", FULL) == [SetTimer("item_s1.0", 1, 300)]
    assert session.dropped == 0
    assert kinds(session.fire("item_s1.0")) == ["SubmitPiece"]
    session.end_piece("item_s1.0")
    assert (session.ended, session.dropped) == (["item_s1"], 5_000)


def test_a_piece_is_not_tried_again_for_ever_and_the_session_goes_on() -> None:
    session = Session(**PUSHED)
    for _ in range(2):
        session.do(AudioArrived(5_000))
        session.do(CommitAsked())
    while "item_s1.0" in session.jobs.running:
        session.end_piece("item_s1.0", FULL)
        if "item_s1.0" in session.timers:
            session.fire("item_s1.0")
    assert session.jobs.n_submits["item_s1.0"] == 34, "10 s of 300 ms each"
    assert TellFailed("item_s1", FULL) in session.told
    session.end_piece("item_s2.0")
    assert session.ended == ["item_s1", "item_s2"]


def test_a_job_that_would_fail_again_is_not_tried_again_and_takes_the_other_pieces_with_it() -> None:
    session = Session(cut_ms=1_000, search_ms=100)
    session.hear(*[SPEECH] * 80)
    assert list(session.jobs.spans) == ["item_s1.0", "item_s1.1"]
    assert session.end_piece("item_s1.0", BROKEN)[0] == CancelPiece("item_s1.1")
    session.hear(*[SPEECH] * 40, *[SILENCE] * 20)
    assert list(session.jobs.spans) == ["item_s1.0", "item_s1.1"], "nothing is submitted for what has failed"
    assert (session.ended, TellFailed("item_s1", BROKEN) in session.told) == (["item_s1"], True)


def test_a_clear_takes_back_what_is_in_no_item_and_nothing_else() -> None:
    session = Session(**PUSHED)
    session.do(AudioArrived(5_000))
    session.do(CommitAsked())
    session.do(AudioArrived(5_000))
    assert kinds(session.do(ClearAsked())) == ["TellCleared"]
    assert session.do(CommitAsked()) == []
    session.end_piece("item_s1.0")
    assert (session.ended, session.dropped) == (["item_s1"], 10_000)


def test_a_clear_in_the_middle_of_a_long_utterance_cancels_its_pieces() -> None:
    session = Session(cut_ms=1_000, search_ms=100)
    session.hear(*[SPEECH] * 50)
    assert kinds(session.do(ClearAsked())) == ["CancelPiece", "TellCleared"]
    session.hear(*[SPEECH] * 10, *[SILENCE] * 20)
    assert [one.item for one in session.committed] == ["item_s2"]


def test_an_utterance_of_which_no_more_audio_comes_ends_but_not_while_the_link_is_cut() -> None:
    session = Session(stall_ms=1_500)
    session.hear(*[SPEECH] * 30)
    session.do(LinkChanged(is_up=False))
    assert kinds(session.fire("stall")) == []
    session.now_ms += 20_000
    session.do(LinkChanged(is_up=True))
    assert kinds(session.fire("stall")) == ["TellStopped", "TellCommitted", "SubmitPiece"]


def test_a_timer_of_an_old_generation_is_ignored() -> None:
    session = Session(stall_ms=1_500)
    session.hear(*[SPEECH] * 10)
    old = session.timers["stall"].generation
    session.hear(*[SILENCE] * 20, *[SPEECH] * 10)
    session.now_ms += 5_000
    assert session.do(TimerFired("stall", old)) == []
    assert kinds(session.do(TimerFired("stall", old + 1)))[:1] == ["TellStopped"]


def test_who_says_nothing_for_long_is_told_so_by_an_item_that_is_no_job() -> None:
    session = Session(idle_timeout_ms=5_000)
    session.hear(*[SILENCE] * 20)
    effects = session.fire("idle")
    assert kinds(effects) == ["TellTimeout", "TellCommitted", "TellCompleted"]
    assert effects[0] == TellTimeout("item_s1", 512, 20 * 512)
    assert not session.jobs.spans
    session.hear(*[SPEECH] * 5)
    assert session.fire("idle") == [], "somebody speaks"


def test_speech_while_the_answer_plays_cancels_what_of_it_has_not_come() -> None:
    session = Session(is_interruptible=True)
    session.hear(*[SPEECH] * 10, *[SILENCE] * 16)
    session.do(AnswerSent(5_000))
    effects = session.hear(SPEECH, SPEECH)
    assert kinds(effects) == ["TellStarted", "StopAnswer", "CancelPiece", "TellFailed"]
    session.hear(*[SPEECH] * 10, *[SILENCE] * 16)
    session.end_piece("item_s2.0")
    assert session.ended == ["item_s1", "item_s2"]


def test_speech_after_the_answer_has_played_cancels_nothing() -> None:
    session = Session(is_interruptible=True)
    session.hear(*[SPEECH] * 10, *[SILENCE] * 16)
    session.do(AnswerSent(100))
    session.now_ms += 200
    assert kinds(session.hear(SPEECH, SPEECH)) == ["TellStarted"]


def test_at_the_end_what_is_spoken_is_answered_and_then_the_session_is_closed() -> None:
    session = Session()
    session.do(AudioArrived(40 * 512))
    assert kinds(session.do(CloseAsked())) == []
    session.do(AudioArrived(5_120))
    assert kinds(session.judge(*[SPEECH] * 40)) == ["TellStarted", "TellStopped", "TellCommitted", "SubmitPiece"]
    assert session.committed[0].end == 40 * 512, "what comes after the end is not part of it"
    assert kinds(session.end_piece("item_s1.0")) == ["TellPiece", "TellCompleted", "TellClosed"]
    assert session.do(AudioArrived(512)) == []


def test_a_drain_lets_the_utterance_end_and_begins_no_other() -> None:
    session = Session()
    session.hear(*[SPEECH] * 10)
    session.do(DrainAsked(10_000))
    session.hear(*[SPEECH] * 10, *[SILENCE] * 16)
    assert not session.brain.takes_audio
    session.do(WindowsJudged(session.brain.judged, (SPEECH,) * 10))
    assert len(session.committed) == 1
    assert kinds(session.end_piece("item_s1.0"))[-1] == "TellClosed"


def test_a_drain_does_not_wait_for_who_speaks_on_and_on() -> None:
    session = Session()
    session.hear(*[SPEECH] * 10)
    session.do(DrainAsked(10_000))
    assert kinds(session.fire("drain")) == ["TellStopped", "TellCommitted", "SubmitPiece"]


def test_the_way_in_which_turns_are_found_changes_and_no_sample_is_lost() -> None:
    session = Session()
    session.hear(*[SPEECH] * 10)
    session.do(RulesChanged(TurnRules(is_detected=False)))
    session.hear(*[SILENCE] * 40)
    assert not session.committed, "the client says when it ends"
    session.do(RulesChanged(TurnRules()))
    session.hear(*[SILENCE] * 16)
    assert [(one.begin, one.end) for one in session.committed] == [(0, 50 * 512 + 3_200)]


def test_silence_is_not_held() -> None:
    session = Session()
    session.hear(*[SILENCE] * 2_000)
    assert session.brain.end - session.dropped < 4_800 + 8_000 + WINDOW_SAMPLES


@pytest.mark.parametrize(
    "wrong", [{"speech_at": 2}, {"min_speech": 0}, {"silence_ms": -1}, {"search_ms": 5_000}, {"idle_timeout_ms": 0}]
)
def test_rules_that_are_nonsense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least|less than"):
        TurnRules(**wrong)  # type: ignore[arg-type]  # it is wrong
