"""The Dispatcher's brain, clients: admission, order, cancelling, clients that are gone, sessions, clean-up."""

import time
from typing import Any, ClassVar

import pytest

from ray_sched.core.effects import CancelAsked, CleanupDue, DrainBegan, DropClient, NotifyClient, Save, Swept
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.client_dispatcher import Accepted, Assigned, Delivered, MissingResult, Outcome, Submit
from ray_sched.core.ports import ForgetJob, SaveSpeeds
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    DispatchHarness,
    a_node,
    a_spec,
    accepted,
    answers,
    events,
    finished,
    only,
    orders,
    stopped,
    told,
    where,
)

# --- admission ----------------------------------------------------------------------------------------------------


def test_the_same_request_id_gets_the_same_job_back() -> None:
    harness = DispatchHarness()
    job = harness.submit("r1", session="s1")
    assert harness.answer("r1", session="s1") == Accepted(job_id=job, is_duplicate=True, utterance_index=0)
    assert (len(harness.brain.jobs), harness.brain.counters.duplicates) == (1, 1)


def test_the_same_request_id_of_another_client_is_another_job() -> None:
    harness = DispatchHarness()
    assert harness.submit("r1", client="c1") != harness.submit("r1", client="c2")


@pytest.mark.parametrize("other", [{"digest": "x"}, {"session": "s2"}, {"tenant": "t"}, {"src": "de", "tgt": "de"}])
def test_a_request_id_used_for_other_content_is_refused(other: dict[str, Any]) -> None:
    harness = DispatchHarness()
    harness.submit("r1", session="s1")
    changes: dict[str, Any] = {"session": "s1"} | other
    assert harness.refusal("r1", **changes).code is Code.DUPLICATE_REQUEST
    assert len(harness.brain.jobs) == 1


def test_repeating_a_submit_repeats_what_its_client_has_to_know() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    again = Submit(spec=a_spec("r1"))
    assert only(events(harness.send(again))) == Assigned(
        job_id=job, attempt=1, node="node-a", incarnation=1, agent="agent:node-a"
    )
    harness.report(accepted(job))
    assert events(harness.send(again)) == []
    delivered = only(told(harness.report(finished(job)), Delivered))
    assert events(harness.send(again)) == [delivered]


def test_an_utterance_index_is_given_once() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1", session="s1", utterance_index=0)
    assert harness.refusal("r2", session="s1", utterance_index=0).code is Code.DUPLICATE_INDEX
    harness.run(job)
    assert harness.refusal("r3", session="s1", utterance_index=0).code is Code.DUPLICATE_INDEX
    harness.submit("r4", session="s2", utterance_index=0)
    harness.submit("r5", session="s1", utterance_index=0, client="c2")


def test_the_next_index_follows_the_highest_one() -> None:
    harness = DispatchHarness()
    given = [harness.answer(f"r{n}", session="s1", utterance_index=i) for n, i in enumerate([None, None, 7, None, 3])]
    assert [a.utterance_index for a in given if isinstance(a, Accepted)] == [0, 1, 7, 8, 3]


def test_after_the_last_possible_index_there_is_no_next_one() -> None:
    harness = DispatchHarness()
    harness.submit("r1", session="s1", utterance_index=2**53)
    assert harness.refusal("r2", session="s1").code is Code.DUPLICATE_INDEX


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": ()},
        {"services": ("mt",)},
        {"services": ("asr", "asr")},
        {"services": ("asr", "dance")},
        {"services": ("asr",), "tgt": "es"},
        {"services": ("asr", "mt")},
        {"utterance_index": 3},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    harness = DispatchHarness()
    assert harness.refusal("r1", **wrong).code is Code.INVALID_MESSAGE
    assert harness.brain.jobs == {}


def test_too_many_waiting_jobs_are_refused_with_the_time_to_come_back() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs=3))
    for n in range(3):
        harness.submit(f"r{n}")
    refusal = harness.refusal("r3")
    assert (refusal.code, refusal.retry_after_ms) == (Code.OVERLOADED, 1_000)
    assert harness.brain.counters.rejected == {Code.OVERLOADED: 1}
    assert isinstance(harness.answer("r2"), Accepted), "a repeated one is no new one"


def test_one_session_cannot_take_all_the_room() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs_per_session=2))
    harness.submit("r0", session="s1")
    harness.submit("r1", session="s1")
    refusal = harness.refusal("r2", session="s1")
    assert refusal.code is Code.OVERLOADED
    assert refusal.message == "2 jobs of session 's1' wait already; try again in 1 s"
    harness.submit("r3", session="s2")
    harness.submit("r4")


def test_the_time_to_come_back_follows_from_how_fast_jobs_end() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs=30, pending_timeout_ms=60_000))
    harness.offer(a_node("node-a", slots=1))
    for second in range(20):
        for n in range(10):
            harness.run(harness.submit(f"r{second}-{n}"))
        harness.wait(1_000)
    for n in range(31):
        harness.submit(f"waiting-{n}")
    assert 250 < harness.refusal("one-more").retry_after_ms < 350, "a tenth of 30 at 10 a second"


def test_a_scheduler_that_shuts_down_takes_no_new_jobs_and_finishes_the_old_ones() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.handle(DrainBegan())
    assert harness.refusal("r2").code is Code.SHUTTING_DOWN
    assert len(told(harness.run(job), Delivered)) == 1


# --- order --------------------------------------------------------------------------------------------------------


def drained_order(harness: DispatchHarness) -> list[str]:
    """Offer one slot and run job after job; the request ids in the order in which they got it."""
    order = []
    effects = harness.offer(a_node("node-a", slots=1))
    while assigned := told(effects, Assigned):
        job = only(assigned).job_id
        order.append(harness.job(job).spec.request_id)
        effects = harness.run(job)
    return order


def test_priority_goes_before_deadline_and_deadline_before_arrival() -> None:
    harness = DispatchHarness()
    harness.submit("arrived first")
    harness.submit("arrived second")
    harness.submit("has a deadline", deadline_ms=5_000)
    harness.submit("is important", priority=1, deadline_ms=60_000)
    harness.submit("can wait", priority=-1, deadline_ms=1_000)
    assert drained_order(harness) == ["is important", "has a deadline", "arrived first", "arrived second", "can wait"]


def test_a_session_never_overtakes_itself() -> None:
    harness = DispatchHarness()
    harness.submit("first", session="s1")
    harness.submit("second, important", session="s1", priority=9)
    harness.submit("other session", session="s2")
    harness.submit("third, with deadline", session="s1", deadline_ms=1_000)
    assert drained_order(harness) == ["first", "second, important", "third, with deadline", "other session"]


def test_an_earlier_utterance_that_comes_back_goes_first_again() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    first = harness.submit("first", session="s1")
    harness.submit("second", session="s1")
    harness.report(accepted(first))
    effects = harness.offer(a_node("node-b", slots=1))
    assert [(harness.job(job).spec.request_id, attempt) for job, attempt, _ in where(effects)] == [("first", 2)]


def test_a_demand_that_nobody_serves_keeps_no_other_waiting() -> None:
    harness = DispatchHarness()
    harness.submit("nobody", src="de", tgt="de", priority=9)
    harness.submit("somebody")
    assert drained_order(harness) == ["somebody"]


# --- delivery -----------------------------------------------------------------------------------------------------


def test_results_of_a_session_are_delivered_in_the_order_in_which_it_spoke() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    jobs = [harness.submit(f"r{n}", session="s1") for n in range(3)]
    assert told(harness.run(jobs[2]), Delivered) == []
    assert told(harness.run(jobs[1]), Delivered) == []
    assert [d.utterance_index for d in told(harness.run(jobs[0]), Delivered)] == [0, 1, 2]


def test_a_gap_is_announced_after_five_seconds_and_what_comes_later_is_marked_late() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    slow, quick = harness.submit("r0", session="s1"), harness.submit("r1", session="s1")
    harness.report(accepted(slow))
    harness.run(quick)
    assert events(harness.wait(4_999)) == []
    missing, delivered = events(harness.wait(1))
    assert missing == MissingResult(session="s1", first_index=0, last_index=0, why=f"not finished yet: {slow}")
    assert isinstance(delivered, Delivered)
    assert (delivered.job_id, delivered.is_late) == (quick, False)
    late = only(told(harness.report(finished(slow)), Delivered))
    assert (late.job_id, late.is_late) == (slow, True)
    assert (harness.brain.counters.gaps, harness.brain.counters.late_results) == (1, 1)


def test_a_gap_that_nobody_submitted_says_so() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    harness.run(harness.submit("r5", session="s1", utterance_index=5))
    assert only(told(harness.wait(5_000), MissingResult)) == MissingResult(
        session="s1", first_index=0, last_index=4, why="not submitted"
    )


def test_a_session_may_begin_at_any_index_and_nothing_before_it_is_awaited() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=2))
    jobs = [harness.submit(f"r{n}", session="s", first_index=17) for n in range(2)]
    assert [harness.job(job).utterance_index for job in jobs] == [17, 18]
    effects = harness.run(jobs[0]) + harness.run(jobs[1]) + harness.wait(6_000)
    assert [event.utterance_index for event in told(effects, Delivered)] == [17, 18]
    assert told(effects, MissingResult) == []


def test_a_front_end_that_was_restarted_goes_on_further_on_without_waiting_for_what_was_lost() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=4))
    running = harness.submit("r0", session="s")
    held = harness.submit("r1", session="s")
    harness.run(held)
    effects = harness.send(Submit(spec=a_spec("r17", session="s", utterance_index=17, first_index=17)))
    assert [event.job_id for event in told(effects, Delivered)] == [held], "it was held back for what is not awaited"
    new = answers(effects)[0]
    assert isinstance(new, Accepted)
    effects = harness.run(new.job_id) + harness.run(running) + harness.wait(6_000)
    delivered = [(event.utterance_index, event.is_late) for event in told(effects, Delivered)]
    assert (delivered, told(effects, MissingResult)) == ([(17, False), (0, True)], [])


def test_a_failed_or_cancelled_job_fills_its_place() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    gone, unserved = harness.submit("r0", session="s1"), harness.submit("r1", session="s1", src="de", tgt="de")
    good = harness.submit("r2", session="s1", deadline_ms=60_000)
    assert [d.outcome.status for d in told(harness.cancel(gone), Delivered)] == ["cancelled"]
    assert harness.status(good) == "pending", "it never overtakes the one before it"
    effects = harness.wait(10_000)
    assert [(d.job_id, d.outcome.status) for d in told(effects, Delivered)] == [(unserved, "failed")]
    assert [d.utterance_index for d in told(harness.run(good), Delivered)] == [2]


def test_an_absurd_utterance_index_costs_no_time() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    began_s = time.process_time()
    harness.run(harness.submit("r0", session="s1", utterance_index=2**53))
    missing, delivered = events(harness.wait(5_000))
    assert isinstance(missing, MissingResult)
    assert (missing.first_index, missing.last_index) == (0, 2**53 - 1)
    assert isinstance(delivered, Delivered)
    late = harness.run(harness.submit("r1", session="s1", utterance_index=2**52))
    assert [d.is_late for d in told(late, Delivered)] == [True]
    assert time.process_time() - began_s < 1


# --- clients ------------------------------------------------------------------------------------------------------


def test_a_cancelled_job_that_waits_ends_at_once() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    effects = harness.cancel(job)
    assert only(answers(effects)) == Accepted(job_id=job)
    assert only(told(effects, Delivered)).outcome.status == "cancelled"
    assert len(harness.brain.waiting) == 0


def test_a_cancelled_job_that_runs_is_stopped_and_its_result_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit()
    harness.report(accepted(job))
    assert orders(harness.cancel(job)) == [StopRun(job_id=job, attempt=1)]
    assert (harness.free(), harness.acquired()) == (0, 1)
    assert events(harness.report(finished(job))) == []
    assert (harness.status(job), harness.free(), harness.acquired()) == ("cancelled", 1, 0)


def test_cancelling_twice_or_what_has_ended_changes_nothing() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.run(job)
    effects = harness.cancel(job)
    assert only(answers(effects)) == Accepted(job_id=job)
    assert (events(effects), harness.status(job)) == ([], "completed")


def test_nobody_cancels_the_job_of_another_client() -> None:
    harness = DispatchHarness()
    job = harness.submit(client="c1")
    refusal = only(answers(harness.cancel(job, client="c2")))
    assert not isinstance(refusal, Accepted)
    assert (refusal.refusal.code, harness.status(job)) == (Code.UNKNOWN_JOB, "pending")


def test_a_client_that_is_gone_loses_what_waits_and_nothing_else() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=60_000))
    harness.offer(a_node("node-a", slots=1))
    running, waiting = harness.submit("r1"), harness.submit("r2")
    others = harness.submit("r3", client="c2")
    harness.report(accepted(running))
    effects = harness.wait(9_999, polling=["c2"])
    assert harness.status(waiting) == "pending"
    effects = harness.wait(1, polling=["c2"])
    assert [effect.client_id for effect in effects if isinstance(effect, DropClient)] == ["c1"]
    error = harness.job(waiting).outcome
    assert error is not None
    assert error.error is not None
    assert error.error.code is Code.CLIENT_GONE
    assert [harness.status(job) for job in (running, waiting, others)] == ["processing", "cancelled", "pending"]
    harness.report(finished(running))
    assert [harness.status(job) for job in (running, others)] == ["completed", "assigned"]


def test_a_client_that_is_gone_when_its_waiting_jobs_run_out_of_time_is_one_ending_for_them() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=10_000, client_ttl_ms=10_000))
    job = harness.submit()
    harness.wait(10_000, polling=[])
    assert harness.status(job) in {"cancelled", "failed"}
    assert sum(harness.brain.counters.ended.values()) == 1


def test_a_client_that_comes_back_gets_what_ended_meanwhile_by_asking_again() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.report(accepted(job))
    harness.wait(12_000, polling=[])
    harness.report(finished(job, text="hello"))
    again = harness.send(Submit(spec=a_spec("r1")))
    assert only(told(again, Delivered)).outcome.text == "hello"


def test_a_client_that_is_gone_is_told_nothing_more() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1")
    harness.report(accepted(job))
    harness.wait(12_000, polling=[])
    effects = harness.report(finished(job))
    assert [effect for effect in effects if isinstance(effect, NotifyClient)] == []


def test_a_job_of_a_client_that_is_gone_is_not_tried_again() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.wait(10_000, polling=[])
    harness.offer()
    outcome = harness.job(job).outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code is Code.CLIENT_GONE


def test_a_session_without_jobs_is_forgotten_after_an_hour_and_at_once_with_its_client() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1", session="s1"))
    harness.run(harness.submit("r2", session="s2", client="c2"), node="node-a")
    harness.wait(30_000, polling=["c1"])
    assert set(harness.brain.sessions) == {("c1", "s1")}
    harness.wait(3_600_000 - 30_000, polling=["c1"])
    assert harness.brain.sessions == {}


# --- the six clean-up cases ---------------------------------------------------------------------------------------


def ended(harness: DispatchHarness, name: str, how: str) -> str:
    """A job that has ended this way."""
    job = harness.submit(name)
    if how == "cancelled":
        harness.cancel(job)
        harness.report(stopped(job))
    elif how == "failed":
        harness.report(accepted(job))
        for attempt in (1, 2, 3, 4):
            harness.brain.jobs[job].client_id = "c1"
            harness.report(accepted(job, attempt), stopped(job, attempt))
    else:
        harness.run(job, text="hello" if how == "completed" else "")
    assert harness.status(job) == how
    return job


def test_clean_up_of_nothing_removes_nothing() -> None:
    cleaned = DispatchHarness().clean_up(300_000)
    assert (cleaned.jobs, cleaned.record_bytes, cleaned.kept) == (0, 0, 0)


def test_clean_up_keeps_pending_assigned_and_processing_jobs_however_old() -> None:
    harness = DispatchHarness(DispatchRules(run_timeout_ms=9_000_000, push_timeout_ms=9_000_000))
    harness.offer(a_node("node-a", slots=2))
    jobs = [harness.submit(f"r{n}", deadline_ms=9_000_000) for n in range(3)]
    harness.report(accepted(jobs[0]))
    assert {harness.status(job) for job in jobs} == {"processing", "assigned", "pending"}
    harness.wait(3_000_000)
    assert harness.clean_up(0).jobs == 0
    assert set(harness.brain.jobs) == set(jobs)


@pytest.mark.parametrize("how", ["completed", "failed", "completed_no_text", "cancelled"])
def test_clean_up_removes_ended_jobs_that_are_old(how: str) -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    ended(harness, "r1", how)
    harness.wait(300_000)
    cleaned = harness.clean_up(300_000)
    assert (cleaned.jobs, cleaned.kept, harness.brain.jobs) == (1, 0, {})
    assert cleaned.record_bytes > 100


def test_clean_up_keeps_jobs_that_ended_recently() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = ended(harness, "r1", "completed")
    harness.wait(299_999)
    cleaned = harness.clean_up(300_000)
    assert (cleaned.jobs, cleaned.kept, set(harness.brain.jobs)) == (0, 1, {job})


def test_clean_up_of_a_mixture_removes_only_old_ended_jobs_and_their_request_ids() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=2))
    old = ended(harness, "old", "completed")
    old_failed = ended(harness, "old failed", "failed")
    harness.wait(100_000)
    recent = ended(harness, "recent", "completed")
    running, assigned, waiting = (harness.submit(f"r{n}") for n in range(3))
    harness.report(accepted(running))
    effects = harness.handle(CleanupDue(100_000))
    saves = [effect.change for effect in effects if isinstance(effect, Save)]
    assert {save.job_id for save in saves if isinstance(save, ForgetJob)} == {old, old_failed}
    assert set(harness.brain.jobs) == {recent, running, assigned, waiting}
    assert harness.submit("old failed") != old_failed, "its request id is free again"


class WatchedJob(Job, gc=False):
    """A job that notes when it is looked at."""

    looked_at: ClassVar[list[str]] = []

    def __getattribute__(self, name: str) -> Any:
        WatchedJob.looked_at.append(object.__getattribute__(self, "job_id"))
        return object.__getattribute__(self, name)


def test_clean_up_looks_only_at_what_it_removes() -> None:
    harness = DispatchHarness()
    facts: dict[str, Any] = {"client_id": "c1", "spec": a_spec(), "utterance_index": None, "created_at_ms": 0}
    facts |= {"status": JobStatus.COMPLETED, "outcome": Outcome(status="completed"), "is_delivered": True}
    harness.brain.restore(
        [WatchedJob(job_id=f"j{n}", number=n, ended_at_ms=1_000 * n, **facts) for n in range(2_000)], harness.now_ms
    )
    WatchedJob.looked_at.clear()
    assert harness.clean_up(harness.now_ms - 2_000).jobs == 3
    assert set(WatchedJob.looked_at) == {"j0", "j1", "j2"}


def test_a_clean_up_saves_what_was_learned_and_forgets_what_is_old() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    old = ended(harness, "old", "completed")
    harness.wait(1_000)
    ended(harness, "young", "completed")
    assert [effect.change for effect in harness.handle(CleanupDue(1_000)) if isinstance(effect, Save)] == [
        SaveSpeeds(node_id="node-a", speeds={"en:en": 2.0}),
        ForgetJob(job_id=old),
    ]


def test_a_job_that_is_cleaned_up_while_earlier_ones_are_awaited_is_still_delivered() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    first, second = harness.submit("r0", session="s1"), harness.submit("r1", session="s1")
    harness.report(accepted(first))
    harness.run(second)
    harness.clean_up(0)
    assert [d.job_id for d in told(harness.report(finished(first)), Delivered)] == [first, second]


def test_a_sweep_of_an_idle_scheduler_does_nothing() -> None:
    assert DispatchHarness().handle(Swept()) == []


# --- operators ----------------------------------------------------------------------------------------------------


def test_an_operator_cancels_anybodys_jobs_and_their_submitters_are_told() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    running, waiting = harness.submit("r1", client="c1"), harness.submit("r2", client="c2")
    harness.report(accepted(running))
    effects = harness.handle(CancelAsked((running, waiting, "no such job")))
    for client, job in (("c1", running), ("c2", waiting)):
        outcome = only(told(effects, Delivered, client)).outcome
        assert (outcome.status, outcome.error and outcome.error.message) == ("cancelled", "cancelled by an operator")
        assert harness.job(job).status is JobStatus.CANCELLED
    assert only(orders(effects)) == StopRun(job_id=running, attempt=1)
    assert harness.handle(CancelAsked((running, waiting))) == []
