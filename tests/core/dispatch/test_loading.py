"""A job on a node whose model is unloaded: where it goes, and how long it has."""

from collections.abc import Callable

import pytest

from ray_sched.core.agent.effects import RunReturned
from ray_sched.core.messages.agent_dispatcher import RunAccepted, RunBegan, RunFinished, StopRun
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from tests.support.agent_harness import AgentHarness
from tests.support.builders import DispatchHarness, a_node, accepted, refused

RUN_TIMEOUT_MS = 60_000
LOADS_WITHIN_MS = 600_000


def waiting(job: str) -> RunAccepted:
    """The agent has the audio, and loads its model first."""
    return RunAccepted(job_id=job, attempt=1, audio_ms=1_000, audio_bytes=32_000, loads_within_ms=LOADS_WITHIN_MS)


def began(job: str, attempt: int = 1) -> RunBegan:
    return RunBegan(job_id=job, attempt=attempt, loaded_ms=8_000)


@pytest.fixture
def it() -> DispatchHarness:
    """One node of two slots, and one job on it."""
    it = DispatchHarness()
    it.offer(a_node(loads_in_ms=8_000))
    return it


def test_a_job_that_waits_for_a_model_has_longer_and_its_time_to_run_begins_when_that_is_loaded(
    it: DispatchHarness,
) -> None:
    job = it.submit()
    it.report(waiting(job))
    it.wait(LOADS_WITHIN_MS - 1)
    it.report(began(job))
    it.wait(RUN_TIMEOUT_MS - 1)
    assert it.status(job) == "processing"
    it.wait(1)
    assert it.job(job).attempt == 2, "it did not end in time"
    assert [line.what for line in it.job(job).story][2:5] == [
        "accepted by node-a", "waits while node-a loads its model", "its model was loaded in 8 s",
    ]  # fmt: skip


def test_a_job_whose_node_says_nothing_more_is_tried_elsewhere_in_the_end(it: DispatchHarness) -> None:
    job = it.submit()
    it.report(waiting(job))
    it.wait(LOADS_WITHIN_MS + RUN_TIMEOUT_MS - 1)
    assert it.status(job) == "processing"
    it.wait(1)
    assert it.job(job).attempt == 2


def test_nobody_is_blamed_when_a_model_does_not_load_in_time(it: DispatchHarness) -> None:
    job = it.submit()
    it.report(waiting(job))
    it.wait(LOADS_WITHIN_MS)
    it.report(refused(job, why="the engine has not loaded again within 600 s"))
    assert (it.job(job).failovers, it.job(job).refusals, it.job(job).attempt) == (0, 1, 2)
    assert it.brain.node_states["node-a"].quarantined_until_ms == 0


def test_what_an_attempt_of_before_says_of_its_model_changes_nothing(it: DispatchHarness) -> None:
    job = it.submit()
    it.report(waiting(job), refused(job))
    it.wait(1_000)
    it.report(accepted(job, attempt=2))
    it.report(began(job))
    it.wait(RUN_TIMEOUT_MS)
    assert it.job(job).attempt == 3, "the time of the second attempt was not prolonged"


def test_the_loaded_node_is_preferred_until_the_unloaded_one_would_be_faster(it: DispatchHarness) -> None:
    it.offer(a_node(loads_in_ms=8_000), a_node("node-b"))
    for number in range(2):
        assert it.job(it.submit(f"r{number}")).node == "node-b"
    assert it.job(it.submit("r3")).node == "node-a", "no other slot is free"


@pytest.mark.parametrize(("speed_b", "goes_to"), [(0.2, "node-a"), (5.0, "node-b")])
def test_the_wait_for_the_model_is_part_of_the_expected_completion(speed_b: float, goes_to: str) -> None:
    it = DispatchHarness()
    it.offer(a_node(), a_node("node-b"))
    for node, speed in (("node-a", 10.0), ("node-b", speed_b)):
        it.brain.speeds.load({node: {"en:en": speed}})
    it.offer(a_node(loads_in_ms=8_000), a_node("node-b"))
    assert it.job(it.submit(audio_ms=10_000)).node == goes_to


# --- the agent's side ----------------------------------------------------------------------------------------------


def test_a_run_s_time_begins_when_the_model_is_loaded_so_that_the_load_is_no_part_of_the_learned_speed() -> None:
    agent = AgentHarness()
    agent.model_loads_within_ms = LOADS_WITHIN_MS
    agent.push("j1")
    agent.now_ms += 20
    (taken,) = agent.sent()
    agent.now_ms += 7_980
    agent.brain.handle_loaded(("j1", 1), agent.now_ms)
    agent.now_ms += 500
    agent.end("j1", RunReturned(text="done"))
    audio_ms = 32_000 * 1000 // (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
    began, ended = agent.sent()
    assert taken == RunAccepted(
        job_id="j1", attempt=1, audio_ms=audio_ms, audio_bytes=32_000, age_ms=20, loads_within_ms=LOADS_WITHIN_MS
    )
    assert began == RunBegan(job_id="j1", attempt=1, loaded_ms=8_000)
    assert ended == RunFinished(job_id="j1", attempt=1, text="done", run_ms=500)


def stopped(agent: AgentHarness) -> None:
    agent.order(StopRun(job_id="j1", attempt=1))


@pytest.mark.parametrize("first", [stopped, AgentHarness.end], ids=["ordered to stop", "ended"])
def test_of_a_run_that_is_over_it_is_not_said_that_it_begins(first: Callable[[AgentHarness], object]) -> None:
    agent = AgentHarness()
    agent.push("j1")
    first(agent)
    agent.brain.handle_loaded(("j1", 1), agent.now_ms)
    assert not any(isinstance(message, RunBegan) for message in agent.sent())
