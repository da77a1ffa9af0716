"""What an agent's heartbeat says, and what its answer means."""

import pytest

from ray_sched.core.agent.effects import EndProcess, RunReturned
from ray_sched.core.messages.agent_dispatcher import RunFinished, StopRun
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat, Load
from tests.support.agent_harness import ENGLISH, AgentHarness


def test_a_heartbeat_says_who_it_is_what_it_can_do_and_what_it_holds() -> None:
    agent = AgentHarness(slots=2)
    agent.push("j1", "j2")
    agent.end("j1", RunReturned(text="x", speech_bytes=640))
    assert agent.brain.heartbeat(Load(cpu=50.0), "") == Heartbeat(
        node="a",
        incarnation=3,
        key=b"key",
        is_loaded=True,
        is_healthy=True,
        capability=ENGLISH,
        load=Load(cpu=50.0),
        running=1,
        most_running=2,
        accepted=2,
        audio_bytes=32_000,
        speech_bytes=640,
    )


@pytest.mark.parametrize(
    ("is_loaded", "why_failed", "why_unhealthy", "told"),
    [
        (False, "", "", (False, True, "loading its engine")),
        (False, "", "the engine has not been started", (False, True, "loading its engine")),
        (False, "no weights", "", (False, False, "no weights")),
        (True, "", "a slot is broken", (True, False, "a slot is broken")),
        (True, "", "", (True, True, "")),
    ],
)
def test_a_heartbeat_says_what_is_wrong(
    is_loaded: bool,  # noqa: FBT001  # a column of the table
    why_failed: str,
    why_unhealthy: str,
    told: tuple[bool, bool, str],
) -> None:
    agent = AgentHarness(is_loaded=is_loaded)
    if why_failed:
        agent.brain.engine_failed(why_failed)
    beat = agent.brain.heartbeat(Load(), why_unhealthy)
    assert (beat.is_loaded, beat.is_healthy, beat.why) == told
    assert beat.capability == (ENGLISH if is_loaded else None)


def test_a_heartbeat_says_how_far_loading_is() -> None:
    progress = "loading its engine for 3 s: 1 of 2 replicas are ready"
    assert AgentHarness(is_loaded=False).brain.heartbeat(Load(), "", progress=progress).why == progress
    assert AgentHarness(is_loaded=True).brain.heartbeat(Load(), "").why == ""
    failed = AgentHarness(is_loaded=False)
    failed.brain.engine_failed("no weights")
    assert failed.brain.heartbeat(Load(), "", progress=progress).why == "no weights"


def test_an_agent_ends_itself_when_another_incarnation_has_taken_over() -> None:
    agent = AgentHarness()
    assert agent.brain.handle_beat_reply(BeatReply(is_current=True)) == []
    assert agent.brain.handle_beat_reply(BeatReply(is_current=False)) == [
        EndProcess("another incarnation has taken over")
    ]


def test_each_batch_of_reports_says_who_sends_it() -> None:
    agent = AgentHarness()
    agent.push("j1")
    agent.end()
    batch = agent.brain.take_batch(agent.now_ms)
    assert batch is not None
    assert (batch.node, batch.incarnation, batch.key) == ("a", 3, b"key")
    agent.brain.batch_failed(agent.now_ms)
    agent.wait(200)
    assert RunFinished(job_id="j1", attempt=1, text="done", run_ms=0) in agent.sent()


def test_an_agent_with_a_stuck_run_ends_when_nothing_else_runs_there() -> None:
    agent = AgentHarness(slots=2)
    agent.push("stuck", "other")
    agent.order(StopRun(job_id="stuck", attempt=1))
    assert agent.brain.handle_stuck_engine("a thread hangs") == []
    agent.end("other")
    assert agent.brain.handle_stuck_engine("a thread hangs") == [EndProcess("a thread hangs")]


def test_a_heartbeat_says_that_the_model_is_unloaded_and_how_long_it_takes_to_load_and_that_is_no_illness() -> None:
    beat = AgentHarness().brain.heartbeat(Load(), "", progress="unloaded (loads in about 8 s)", loads_in_ms=8_000)
    assert (beat.is_loaded, beat.is_healthy) == (True, True)
    assert (beat.why, beat.loads_in_ms) == ("unloaded (loads in about 8 s)", 8_000)
    ill = AgentHarness().brain.heartbeat(Load(), "it has broken", progress="unloaded (loads in about 8 s)")
    assert (ill.is_healthy, ill.why) == (False, "it has broken")
