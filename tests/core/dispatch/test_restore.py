"""A Dispatcher that is started again: what was saved is taken up, and what was told stays true."""

from collections.abc import Iterable

import pytest

from ray_sched.core.effects import CleanupDue, DispatchEffect, Save, StoreWasEmptied, SubmitsWithdrawn
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered, MissingResult, SpeechReady, Submit
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import SaveSpeeds
from tests.support.builders import DispatchHarness, a_node, a_spec, accepted, finished, only, stopped, told
from tests.support.saving_harness import SavingHarness


def submit_again(request_id: str, **changes: object) -> Submit:
    return Submit(spec=a_spec(request_id, **changes))


def results(effects: Iterable[DispatchEffect]) -> list[Delivered]:
    return told(effects, Delivered)


def test_waiting_jobs_wait_on_in_their_order() -> None:
    harness = SavingHarness()
    jobs = [harness.submit(f"r{n}", priority=n % 2) for n in range(4)]
    harness.crash()
    assert {job.status for job in harness.brain.jobs.values()} == {JobStatus.PENDING}
    effects = harness.offer(a_node("node-a", slots=4))
    assert [event.job_id for event in told(effects, Assigned)] == [jobs[1], jobs[3], jobs[0], jobs[2]]


def test_an_assigned_job_keeps_its_slot_and_its_submitter_is_told_again_when_it_comes_back() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", slots=1))
    waiting = harness.submit("r2")
    assert harness.job(waiting).status is JobStatus.PENDING
    again = harness.send(submit_again("r1"))
    assert only(told(again, Assigned)).attempt == 1
    harness.run(job)
    assert harness.job(job).status is JobStatus.COMPLETED
    assert harness.job(waiting).status is JobStatus.ASSIGNED


def test_a_result_that_comes_before_the_nodes_offer_counts() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.crash()
    effects = harness.report(finished(job, 1))
    assert only(results(effects)).job_id == job


@pytest.mark.parametrize("status", [NodeStatus.LOST, NodeStatus.GONE])
def test_jobs_of_a_node_that_ended_while_the_dispatcher_was_away_are_run_elsewhere(status: NodeStatus) -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.crash()
    harness.report(accepted(job), node="node-a")
    harness.offer(a_node("node-a", slots=0, status=status, has_died=True), a_node("node-b"))
    assert (harness.job(job).attempt, harness.job(job).node) == (2, "node-b")
    assert (harness.job(job).suspicions, harness.job(job).kills) == (1, 0)  # what else ran there nobody knows


def test_the_end_of_an_incarnation_takes_no_job_from_the_one_after_it() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", incarnation=2))
    job = harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", slots=0, status=NodeStatus.LOST))
    assert (harness.job(job).attempt, harness.job(job).incarnation) == (1, 2)


def test_a_late_offer_of_an_earlier_incarnation_takes_no_job_from_the_one_that_runs_it() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", incarnation=2))
    job = harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", incarnation=1, slots=0))
    assert (harness.job(job).status, harness.job(job).attempt) == (JobStatus.ASSIGNED, 1)
    harness.offer(a_node("node-a", incarnation=2))
    assert harness.brain.node_states["node-a"].holds((job, 1))
    assert (harness.job(job).status, harness.job(job).attempt) == (JobStatus.ASSIGNED, 1)


def test_jobs_of_a_node_that_came_back_as_a_new_incarnation_are_run_again() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.crash()
    harness.offer(a_node("node-a", incarnation=2))
    assert (harness.job(job).attempt, harness.job(job).incarnation) == (2, 2)


def test_a_request_id_still_names_its_job_and_a_delivered_result_is_told_again() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.run(job)
    harness.crash()
    effects = harness.send(submit_again("r1"))
    assert only(results(effects)).job_id == job
    assert len(harness.brain.jobs) == 1


def test_a_session_goes_on_at_its_next_index_and_in_order() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=4))
    jobs = [harness.submit(f"r{n}", session="s", utterance_index=n) for n in range(4)]
    harness.run(jobs[0])
    harness.run(jobs[2])
    harness.crash()
    harness.offer(a_node("node-a", slots=4))
    effects = harness.report(accepted(jobs[1]), finished(jobs[1], 1))
    assert [event.utterance_index for event in results(effects)] == [1, 2]
    assert harness.refusal("r9", session="s", utterance_index=0).code == "DUPLICATE_INDEX"
    last = harness.report(accepted(jobs[3]), finished(jobs[3], 1))
    assert [(event.utterance_index, event.is_late) for event in results(last)] == [(3, False)]


def test_a_session_whose_delivered_jobs_are_forgotten_does_not_begin_anew() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=4))
    for n in range(3):
        harness.run(harness.submit(f"r{n}", session="s"))
    harness.clean_up(0)
    harness.disk.records.clear()
    waiting = harness.submit("r3", session="s")
    harness.crash()
    harness.offer(a_node("node-a", slots=4))
    effects = harness.report(accepted(waiting), finished(waiting, 1))
    assert [event.utterance_index for event in results(effects)] == [3]
    assert told(harness.wait(6_000), MissingResult) == []


def test_a_job_whose_gap_was_announced_is_still_delivered_late() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=4))
    first, second = (harness.submit(f"r{n}", session="s", deadline_ms=60_000) for n in range(2))
    harness.report(accepted(first))
    harness.run(second)
    assert told(harness.wait(5_100), MissingResult)
    harness.crash()
    harness.offer(a_node("node-a", slots=4))
    effects = harness.report(finished(first, 1))
    assert [(event.utterance_index, event.is_late) for event in results(effects)] == [(0, True)]


def test_speech_that_waits_to_be_fetched_still_waits() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.report(accepted(job), finished(job, 1, speech_bytes=3_200))
    harness.crash()
    effects = harness.send(submit_again("r1"))
    assert only(told(effects, SpeechReady)).n_bytes == 3_200


def test_waiting_jobs_of_a_client_that_does_not_come_back_are_cancelled() -> None:
    harness = SavingHarness()
    job = harness.submit("r1", deadline_ms=60_000)
    harness.crash()
    harness.wait(10_000, polling=())
    assert harness.job(job).status is JobStatus.CANCELLED


def test_finished_jobs_are_forgotten_at_their_time() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1"))
    harness.wait(200_000)
    harness.run(harness.submit("r2"))
    harness.crash()
    harness.wait(100_000)
    harness.clean_up(300_000)
    assert [job.spec.request_id for job in harness.brain.jobs.values()] == ["r2"]


def test_a_clock_that_was_set_back_an_hour_keeps_no_job_waiting_for_that_hour() -> None:
    harness = SavingHarness()
    harness.now_ms += 3_600_000
    own_deadline, none = harness.submit("r1", deadline_ms=60_000), harness.submit("r2")
    harness.now_ms -= 3_600_000
    harness.crash()
    harness.wait(10_000)
    assert (harness.status(own_deadline), harness.status(none)) == ("pending", "failed")
    harness.wait(50_000)
    assert harness.status(own_deadline) == "failed"


def test_a_clock_that_was_set_back_an_hour_keeps_no_finished_job_for_that_hour() -> None:
    harness = SavingHarness()
    harness.now_ms += 3_600_000
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1"))
    harness.now_ms -= 3_600_000
    harness.crash()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r2"))
    harness.wait(300_000)
    assert harness.clean_up(300_000).jobs == 2


def test_nothing_took_less_than_no_time_because_a_clock_was_set_back() -> None:
    harness = SavingHarness()
    harness.now_ms += 3_600_000
    waiting = harness.submit("r1", deadline_ms=60_000)
    harness.now_ms -= 3_600_000
    harness.crash()
    harness.wait(500)
    harness.offer(a_node("node-a"))
    harness.run(waiting)
    outcome = harness.job(waiting).outcome
    assert outcome is not None
    assert outcome.wait_ms == 500


def test_all_that_an_emptied_store_held_is_written_again_and_a_restart_goes_on_with_it() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    done, fenced, waiting = (harness.submit(f"r{n}", session="s") for n in range(3))
    harness.run(done)
    harness.report(accepted(fenced))
    harness.cancel(fenced)
    held = set(harness.disk.records)
    harness.disk.records = {}
    harness.handle(StoreWasEmptied())
    assert set(harness.disk.records) == held
    harness.crash()
    harness.offer(a_node("node-a", slots=1))
    assert [harness.status(job) for job in (done, fenced, waiting)] == ["completed", "cancelled", "pending"]
    harness.report(stopped(fenced))
    assert results(harness.run(waiting))[0].utterance_index == 2


def test_learned_speeds_are_written_again_into_an_emptied_store() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1"), run_ms=500)
    harness.handle(CleanupDue(300_000))
    saved = [effect.change for effect in harness.handle(StoreWasEmptied()) if isinstance(effect, Save)]
    assert SaveSpeeds(node_id="node-a", speeds={"en:en": 2.0}) in saved


def test_a_job_whose_submit_is_withdrawn_is_on_no_node_any_more() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    harness.submit("r1")
    harness.handle(SubmitsWithdrawn("c1", ("r1",)))
    assert (harness.brain.jobs, harness.brain.jobs_on("node-a")) == ({}, [])
    harness.offer()
    assert harness.brain.counters.requeued == 0
