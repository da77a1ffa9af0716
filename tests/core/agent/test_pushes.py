"""What an agent accepts, what it refuses, and that nothing is started twice."""

import pytest

from ray_sched.core.agent.attempts import MAX_FENCED
from ray_sched.core.agent.effects import CancelRun, RunCancelled, RunDeclined, RunReturned, StartRun
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.agent_dispatcher import RunAccepted, RunFinished, RunRefused, RunStopped, StopRun
from ray_sched.core.messages.agent_registry import BeatReply, Load
from tests.support.agent_harness import SEEN, STOLEN, AgentHarness, an_item

STOP = StopRun(job_id="j1", attempt=1)


def refused(why: str, job_id: str = "j1", attempt: int = 1) -> RunRefused:
    return RunRefused(job_id=job_id, attempt=attempt, why=why)


def test_what_is_accepted_is_started_and_reported_with_its_size_and_age() -> None:
    agent = AgentHarness()
    assert agent.push("j1") == [StartRun(0, an_item("j1"))]
    agent.wait(20)
    assert agent.sent() == [RunAccepted(job_id="j1", attempt=1, audio_ms=1_000, audio_bytes=32_000, age_ms=20)]


def test_the_duration_of_audio_is_counted_in_whole_milliseconds() -> None:
    agent = AgentHarness()
    agent.push(an_item(n_bytes=94))
    agent.wait(20)
    assert agent.sent() == [RunAccepted(job_id="j1", attempt=1, audio_ms=2, audio_bytes=94, age_ms=20)]


def test_each_item_of_a_push_is_decided_alone_and_knows_where_its_audio_is() -> None:
    agent = AgentHarness(slots=2)
    effects = agent.push("j1", an_item("j2", n_bytes=3), "j3", "j4")
    assert effects == [StartRun(0, an_item("j1")), StartRun(2, an_item("j3"))]
    assert agent.brain.running == [("j1", 1), ("j3", 1)]
    refusals = [message for message in agent.sent() if isinstance(message, RunRefused)]
    assert refusals == [
        refused("the push does not hold whole samples of audio", "j2"),
        refused("all 2 slots are taken", "j4"),
    ]


def test_an_agent_never_runs_more_than_its_slots_and_counts_who_brings_more() -> None:
    agent = AgentHarness(slots=1)
    agent.push("j1")
    assert agent.brain.refused_because_full == 0
    assert agent.push("j2") == []
    assert agent.brain.refused_because_full == 1
    agent.end("j1")
    assert agent.push("j3") == [StartRun(0, an_item("j3"))]


@pytest.mark.parametrize("n_bytes", [0, 1, 32_001])
def test_audio_that_is_no_whole_samples_is_refused(n_bytes: int) -> None:
    agent = AgentHarness()
    assert agent.push(an_item(n_bytes=n_bytes)) == []
    assert agent.sent() == [refused("the push does not hold whole samples of audio")]


def test_nothing_is_accepted_while_the_engine_loads() -> None:
    agent = AgentHarness(is_loaded=False)
    assert agent.push("j1") == []
    assert agent.sent() == [refused("the engine is still loading")]


def test_a_draining_node_refuses_what_is_new_and_runs_on() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.brain.handle_beat_reply(BeatReply(is_current=True, is_draining=True)) == []
    assert agent.push("j1", "j2") == []
    assert refused("the node is draining", "j2") in agent.sent()
    assert agent.brain.running == [("j1", 1)]
    agent.brain.handle_beat_reply(BeatReply(is_current=True, is_draining=False))
    assert agent.push("j3") == [StartRun(0, an_item("j3"))]


def test_the_engine_may_refuse_what_nothing_else_speaks_against() -> None:
    agent = AgentHarness()
    agent.refuses_because = "no French today"
    assert agent.push("j1") == []
    assert agent.sent() == [refused("no French today")]
    assert agent.brain.heartbeat(Load(), "").accepted == 0


def test_the_engine_is_asked_about_each_item_that_nothing_else_speaks_against() -> None:
    agent = AgentHarness()
    agent.push("j1", an_item("j2", n_bytes=3), an_item("j3", attempt=2))
    assert agent.asked_about == [an_item("j1"), an_item("j3", attempt=2)]


def test_a_push_without_a_token_or_for_another_incarnation_changes_nothing_and_fences_nothing() -> None:
    agent = AgentHarness()
    assert agent.push(an_item("j1", token=STOLEN)) == []
    assert agent.push("j1", incarnation=2) == []
    assert agent.brain.unsent_reports == 0
    assert agent.push("j1") == [StartRun(0, an_item("j1"))]


def test_a_push_without_a_token_does_not_have_a_running_attempt_accepted_again() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.push(an_item("j1", token=STOLEN))
    assert agent.brain.unsent_reports == 1


def test_a_second_push_of_what_runs_is_accepted_again_and_starts_nothing() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.wait(20)
    agent.sent()
    agent.wait(5)
    assert agent.push("j1") == []
    agent.wait(20)
    assert agent.sent() == [RunAccepted(job_id="j1", attempt=1, audio_ms=1_000, audio_bytes=32_000, age_ms=45)]


def test_the_same_attempt_twice_in_one_push_is_started_once() -> None:
    assert AgentHarness().push("j1", "j1") == [StartRun(0, an_item("j1"))]


@pytest.mark.parametrize("how", ["finished", "cancelled", "declined", "refused", "stopped"])
def test_an_attempt_that_has_run_or_was_refused_or_stopped_is_never_started_again(how: str) -> None:
    agent = AgentHarness()
    if how == "stopped":
        agent.order(STOP)
    elif how == "refused":
        agent.refuses_because = "too hot"
        agent.push("j1")
        agent.refuses_because = None
    else:
        agent.push("j1")
    if how == "finished":
        agent.end()
    elif how == "cancelled":
        agent.end(end=RunCancelled())
    elif how == "declined":
        agent.end(end=RunDeclined(why="too hot"))
    agent.sent()
    assert agent.push("j1") == []
    assert agent.sent() == [refused(SEEN)]
    assert agent.push(an_item("j1", attempt=2)) == [StartRun(0, an_item("j1", attempt=2))]


def test_so_many_attempts_are_remembered_as_never_to_be_started_and_the_oldest_is_forgotten_first() -> None:
    agent = AgentHarness(slots=3)
    agent.order(StopRun(job_id="first", attempt=1), StopRun(job_id="second", attempt=1))
    agent.order(*(StopRun(job_id=f"j{n}", attempt=1) for n in range(MAX_FENCED - 2)))
    assert agent.push("first") == []
    agent.order(StopRun(job_id="one more", attempt=1))
    assert agent.push("second", "first") == [StartRun(1, an_item("first"))]


def test_an_order_to_stop_cancels_the_run_and_is_answered_when_the_engine_has_stopped() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.wait(20)
    agent.sent()
    assert agent.order(STOP) == [CancelRun(("j1", 1))]
    assert agent.sent() == []
    assert agent.brain.running == [("j1", 1)], "the slot is taken until the engine has let go of it"
    agent.end(end=RunCancelled())
    assert agent.sent() == [RunStopped(job_id="j1", attempt=1)]
    assert agent.brain.ledger.bytes_in() == 0


def test_an_order_to_stop_what_does_not_run_is_answered_at_once_however_often_it_comes() -> None:
    agent = AgentHarness()
    assert agent.order(STOP, STOP) == []
    assert agent.sent() == [RunStopped(job_id="j1", attempt=1)] * 2


def test_orders_for_another_incarnation_change_nothing() -> None:
    agent = AgentHarness()
    agent.push("j1")
    assert agent.order(STOP, incarnation=2) == []
    agent.end()
    agent.sent()
    assert agent.order(StopRun(job_id="j2", attempt=1), incarnation=4) == []
    assert agent.sent() == []
    assert agent.push("j2") == [StartRun(0, an_item("j2"))]


def test_audio_is_in_the_ledger_exactly_while_its_attempt_runs() -> None:
    agent = AgentHarness()
    agent.push("j1", an_item("j2", n_bytes=320))
    assert agent.brain.ledger.bytes_in(AudioState.RUNNING) == 32_320
    agent.end("j1")
    assert agent.brain.ledger.bytes_in(AudioState.RUNNING) == 320
    agent.end("j2", RunCancelled())
    assert (agent.brain.ledger.bytes_in(), agent.brain.ledger.released_bytes) == (0, 32_320)


def test_the_end_of_what_does_not_run_is_a_surprise() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.end()
    with pytest.raises(KeyError):
        agent.end()
    assert [type(message) for message in agent.sent()] == [RunAccepted, RunFinished]


def test_an_attempt_whose_speech_still_waits_is_refused_however_many_came_after_it() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.end("j1", RunReturned(text="hello", speech_bytes=640, speech_rate_hz=22_050))
    for n in range(MAX_FENCED):
        agent.order(StopRun(job_id=f"other-{n}", attempt=1))
    agent.sent()
    assert agent.push("j2", "j1") == [StartRun(0, an_item("j2"))]
    assert refused("this attempt was pushed or stopped here before") in agent.sent()
