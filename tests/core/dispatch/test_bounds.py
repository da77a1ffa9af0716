"""The bounds of what the Dispatcher does: how many it looks at, what it leaves as it is, and what it takes up again."""

from typing import Any

import pytest

from ray_sched.core.effects import Log, StoreCameBack, StoreWentAway, SubmitsWithdrawn
from ray_sched.core.errors import Code
from ray_sched.core.job import Fenced, Job, JobStatus
from ray_sched.core.messages.agent_dispatcher import RunFailed
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Assigned,
    Cancel,
    ClientMessage,
    MissingResult,
    Outcome,
    PushFailed,
    Refused,
    Submit,
)
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    DispatchHarness,
    a_node,
    a_spec,
    accepted,
    answers,
    finished,
    only,
    orders,
    refused,
    told,
)
from tests.support.saving_harness import SavingHarness


@pytest.mark.parametrize(("n_avoiding", "status"), [(16, "assigned"), (17, "pending")])
def test_sixteen_jobs_that_avoid_the_free_node_are_passed_and_no_more(n_avoiding: int, status: str) -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=40))
    avoiding = [harness.submit(f"r{n}", priority=1) for n in range(n_avoiding)]
    harness.send(*(PushFailed(job_id=job, attempt=1, why="no way") for job in avoiding))
    assert {harness.status(job) for job in avoiding} == {"pending"}
    assert harness.status(harness.submit("behind")) == status


def test_two_jobs_of_one_batch_go_to_one_node() -> None:
    harness = DispatchHarness()
    harness.offer(*(a_node(f"node-{n}", slots=4) for n in range(8)))
    effects = harness.send(*(Submit(spec=a_spec(f"r{n}", audio_ms=40)) for n in range(2)))
    assert len({event.node for event in told(effects, Assigned)}) == 1


# --- sessions -----------------------------------------------------------------------------------------------------


def test_the_session_that_was_used_longest_ago_makes_room_for_one_too_many() -> None:
    harness = DispatchHarness(DispatchRules(max_sessions_per_client=2))
    harness.offer(a_node("node-a"))
    for n, session in enumerate(["first", "second", "first"]):
        harness.run(harness.submit(f"r{n}", session=session))
    harness.submit("r3", session="third")
    assert set(harness.brain.sessions) == {("c1", "first"), ("c1", "third")}


def test_a_session_that_made_room_for_another_one_leaves_no_time_set_for_it() -> None:
    harness = DispatchHarness(DispatchRules(max_sessions_per_client=1))
    harness.offer(a_node("node-a"))
    for n in range(3):
        harness.run(harness.submit(f"r{n}", session=f"s{n}"))
    assert (set(harness.brain.sessions), harness.brain.sizes()["due"]) == ({("c1", "s2")}, 2)


@pytest.mark.parametrize(("n_busy", "is_taken"), [(15, True), (16, False)])
def test_sixteen_sessions_are_asked_whether_they_are_idle_and_no_more(n_busy: int, *, is_taken: bool) -> None:
    harness = DispatchHarness(DispatchRules(max_sessions_per_client=n_busy + 1))
    harness.offer(a_node("node-a", slots=40))
    for n in range(n_busy):
        harness.submit(f"busy-{n}", session=f"busy-{n}")
    harness.run(harness.submit("idle", session="idle"))
    assert isinstance(harness.answer("more", session="more"), Accepted) == is_taken


def test_a_forgotten_session_misses_only_what_comes_after_its_last_result() -> None:
    harness = DispatchHarness(DispatchRules(session_ttl_ms=20_000))
    harness.offer(a_node("node-a"))
    for n in range(3):
        harness.run(harness.submit(f"r{n}", session="s", utterance_index=n))
    harness.wait(20_000)
    assert harness.brain.sessions == {}
    harness.run(harness.submit("r5", session="s", utterance_index=5))
    missing = only(told(harness.wait(5_000), MissingResult))
    assert (missing.first_index, missing.last_index) == (3, 4)


def test_a_session_of_a_client_that_is_gone_is_forgotten_soon_after_its_last_job_has_ended() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1", session="s")
    harness.report(accepted(job))
    harness.wait(15_000, polling=())
    harness.report(finished(job))
    assert set(harness.brain.sessions) == {("c1", "s")}
    harness.wait(6_000, polling=())
    assert harness.brain.sessions == {}


def test_of_a_batch_nothing_is_taken_behind_what_was_refused_in_the_same_session_for_want_of_room() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs=2))
    blocking = [harness.submit("b1"), harness.submit("b2")]
    batch: list[ClientMessage] = [Submit(spec=a_spec("r1", session="s")), Cancel(job_id=blocking[0])]
    batch += [Submit(spec=a_spec("r2", session="s")), Submit(spec=a_spec("r3", session="t"))]
    first, _, second, other = answers(harness.send(*batch))
    assert isinstance(first, Refused)
    assert (second, isinstance(other, Accepted)) == (first, True)
    harness.cancel(blocking[1])  # and the answer was lost: the batch comes again
    first, _, second, _ = answers(harness.send(*batch))
    assert [answer.utterance_index for answer in (first, second) if isinstance(answer, Accepted)] == [0]


# --- what is left as it is ----------------------------------------------------------------------------------------


def test_a_submit_that_is_withdrawn_counts_as_refused() -> None:
    harness = DispatchHarness()
    harness.submit("r1")
    harness.handle(SubmitsWithdrawn("c1", ("r1",)))
    assert harness.brain.counters.submitted == 0
    assert harness.brain.counters.rejected == {Code.SCHEDULER_DEPENDENCY_DOWN: 1}


def test_a_job_that_has_ended_is_not_withdrawn() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.run(job)
    harness.handle(SubmitsWithdrawn("c1", ("r1",)))
    assert (harness.status(job), harness.brain.counters.submitted) == ("completed", 1)


def test_a_running_job_keeps_its_time_when_the_store_comes_back() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.handle(StoreWentAway())
    harness.handle(StoreCameBack())
    harness.wait(59_999)
    assert harness.job(job).attempt == 1
    harness.wait(1)
    assert harness.job(job).attempt == 2


def test_a_refusal_of_a_job_whose_speech_waits_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, speech_bytes=64))
    harness.report(refused(job))
    assert (harness.status(job), harness.job(job).attempt, harness.brain.counters.refused) == ("processing", 1, 0)


def test_an_earlier_incarnation_that_speaks_is_ordered_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", incarnation=2))
    assert orders(harness.report(accepted("boot-9"), incarnation=1)) == []
    assert len(orders(harness.report(accepted("boot-9"), incarnation=2))) == 1


def test_what_a_node_says_of_a_missing_model_is_logged_and_kept_short() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    why = "x" * 201
    failure = RunFailed(job_id=job, attempt=1, code=Code.MODEL_NOT_AVAILABLE, why=why, service="asr")
    logged = [effect.text for effect in harness.report(failure) if isinstance(effect, Log)]
    assert logged == ["node-a: no model for asr: " + "x" * 200]


def test_the_speeds_of_nodes_that_are_gone_are_forgotten_with_the_clean_up() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit())
    harness.clean_up(0)
    assert set(harness.brain.speeds.all()) == {"node-a"}
    harness.offer()
    harness.clean_up(0)
    assert harness.brain.speeds.all() == {}


# --- what is taken up again ---------------------------------------------------------------------------------------


def test_a_job_whose_speech_waits_holds_no_slot_after_a_restart() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, speech_bytes=64))
    harness.crash()
    harness.offer(a_node("node-a"))
    assert (harness.status(job), harness.acquired()) == ("processing", 0)


def test_a_submitter_is_told_the_agent_that_a_node_has_after_a_restart() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", agent="agent:renamed"))
    assert only(told(harness.send(Submit(spec=a_spec("r1"))), Assigned)).agent == "agent:renamed"


def test_an_attempt_that_a_record_names_twice_as_fenced_holds_one_slot() -> None:
    harness = DispatchHarness()
    facts: dict[str, Any] = {"client_id": "c1", "spec": a_spec(), "utterance_index": None, "created_at_ms": 0}
    facts |= {"status": JobStatus.CANCELLED, "outcome": Outcome(status="cancelled"), "is_delivered": True}
    fenced = Fenced(1, "node-a", 1)
    harness.brain.restore([Job(job_id="j1", number=1, fenced=(fenced, fenced), **facts)], harness.now_ms)
    harness.offer(a_node("node-a"))
    assert (harness.acquired(), harness.free()) == (1, 1)


def test_a_job_that_is_forgotten_after_a_restart_is_on_no_node_any_more() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.cancel(job)
    harness.crash()
    assert [each.job_id for each in harness.brain.fenced_on("node-a")] == [job]
    harness.clean_up(0)
    assert (harness.brain.fenced_on("node-a"), harness.brain.jobs) == ([], {})


def test_speech_that_waits_accuses_nobody_when_the_agent_dies() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, speech_bytes=64))
    harness.offer(a_node("node-a", slots=0, total_slots=2, status="lost", has_died=True))
    assert (harness.job(job).kills, harness.job(job).suspicions, harness.job(job).attempt) == (0, 0, 2)
