"""The Dispatcher's brain, clients: admission, order, cancelling, clients that are gone, sessions, clean-up."""

import time
from typing import Any

import pytest

from ray_sched.core.effects import CleanupDue, DrainBegan, DropClient, Save, Swept, TellClient
from ray_sched.core.errors import Code
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.client_dispatcher import Accepted, Assigned, Delivered, MissingResult, Submit
from ray_sched.core.ports import ForgetJob, SaveSpeeds
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    Desk,
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
    desk = Desk()
    job = desk.submit("r1", session="s1")
    assert desk.answer("r1", session="s1") == Accepted(job_id=job, is_duplicate=True, utterance_index=0)
    assert (len(desk.brain.jobs), desk.brain.counters.duplicates) == (1, 1)


def test_the_same_request_id_of_another_client_is_another_job() -> None:
    desk = Desk()
    assert desk.submit("r1", client="c1") != desk.submit("r1", client="c2")


@pytest.mark.parametrize("other", [{"digest": "x"}, {"session": "s2"}, {"tenant": "t"}, {"src": "de", "tgt": "de"}])
def test_a_request_id_used_for_other_content_is_refused(other: dict[str, Any]) -> None:
    desk = Desk()
    desk.submit("r1", session="s1")
    changes: dict[str, Any] = {"session": "s1"} | other
    assert desk.refusal("r1", **changes).code is Code.DUPLICATE_REQUEST
    assert len(desk.brain.jobs) == 1


def test_repeating_a_submit_repeats_what_its_client_has_to_know() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    again = Submit(spec=a_spec("r1"))
    assert only(events(desk.say(again))) == Assigned(
        job_id=job, attempt=1, node="node-a", incarnation=1, agent="agent:node-a"
    )
    desk.report(accepted(job))
    assert events(desk.say(again)) == []
    delivered = only(told(desk.report(finished(job)), Delivered))
    assert events(desk.say(again)) == [delivered]


def test_an_utterance_index_is_given_once() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1", session="s1", utterance_index=0)
    assert desk.refusal("r2", session="s1", utterance_index=0).code is Code.DUPLICATE_INDEX
    desk.run(job)
    assert desk.refusal("r3", session="s1", utterance_index=0).code is Code.DUPLICATE_INDEX
    desk.submit("r4", session="s2", utterance_index=0)
    desk.submit("r5", session="s1", utterance_index=0, client="c2")


def test_the_next_index_follows_the_highest_one() -> None:
    desk = Desk()
    given = [desk.answer(f"r{n}", session="s1", utterance_index=i) for n, i in enumerate([None, None, 7, None, 3])]
    assert [a.utterance_index for a in given if isinstance(a, Accepted)] == [0, 1, 7, 8, 3]


def test_after_the_last_possible_index_there_is_no_next_one() -> None:
    desk = Desk()
    desk.submit("r1", session="s1", utterance_index=2**53)
    assert desk.refusal("r2", session="s1").code is Code.DUPLICATE_INDEX


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
    desk = Desk()
    assert desk.refusal("r1", **wrong).code is Code.INVALID_MESSAGE
    assert desk.brain.jobs == {}


def test_too_many_waiting_jobs_are_refused_with_the_time_to_come_back() -> None:
    desk = Desk(DispatchRules(max_waiting_jobs=3))
    for n in range(3):
        desk.submit(f"r{n}")
    refusal = desk.refusal("r3")
    assert (refusal.code, refusal.retry_after_ms) == (Code.OVERLOADED, 1_000)
    assert desk.brain.counters.rejected == {Code.OVERLOADED: 1}
    assert isinstance(desk.answer("r2"), Accepted), "a repeated one is no new one"


def test_one_session_cannot_take_all_the_room() -> None:
    desk = Desk(DispatchRules(max_waiting_jobs_per_session=2))
    desk.submit("r0", session="s1")
    desk.submit("r1", session="s1")
    refusal = desk.refusal("r2", session="s1")
    assert refusal.code is Code.OVERLOADED
    assert refusal.message == "2 jobs of session 's1' wait already; try again in 1000 ms"
    desk.submit("r3", session="s2")
    desk.submit("r4")


def test_the_time_to_come_back_follows_from_how_fast_jobs_end() -> None:
    desk = Desk(DispatchRules(max_waiting_jobs=30, pending_timeout_ms=60_000))
    desk.offer(a_node("node-a", slots=1))
    for second in range(20):
        for n in range(10):
            desk.run(desk.submit(f"r{second}-{n}"))
        desk.wait(1_000)
    for n in range(31):
        desk.submit(f"waiting-{n}")
    assert 250 < desk.refusal("one-more").retry_after_ms < 350, "a tenth of 30 at 10 a second"


def test_a_scheduler_that_shuts_down_takes_no_new_jobs_and_finishes_the_old_ones() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    desk.handle(DrainBegan())
    assert desk.refusal("r2").code is Code.SHUTTING_DOWN
    assert len(told(desk.run(job), Delivered)) == 1


# --- order --------------------------------------------------------------------------------------------------------


def drained_order(desk: Desk) -> list[str]:
    """Offer one slot and run job after job; the request ids in the order in which they got it."""
    order = []
    effects = desk.offer(a_node("node-a", slots=1))
    while assigned := told(effects, Assigned):
        job = only(assigned).job_id
        order.append(desk.job(job).spec.request_id)
        effects = desk.run(job)
    return order


def test_priority_goes_before_deadline_and_deadline_before_arrival() -> None:
    desk = Desk()
    desk.submit("arrived first")
    desk.submit("arrived second")
    desk.submit("has a deadline", deadline_ms=5_000)
    desk.submit("is important", priority=1, deadline_ms=60_000)
    desk.submit("can wait", priority=-1, deadline_ms=1_000)
    assert drained_order(desk) == ["is important", "has a deadline", "arrived first", "arrived second", "can wait"]


def test_a_session_never_overtakes_itself() -> None:
    desk = Desk()
    desk.submit("first", session="s1")
    desk.submit("second, important", session="s1", priority=9)
    desk.submit("other session", session="s2")
    desk.submit("third, with deadline", session="s1", deadline_ms=1_000)
    assert drained_order(desk) == ["first", "second, important", "third, with deadline", "other session"]


def test_an_earlier_utterance_that_comes_back_goes_first_again() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=1))
    first = desk.submit("first", session="s1")
    desk.submit("second", session="s1")
    desk.report(accepted(first))
    effects = desk.offer(a_node("node-b", slots=1))
    assert [(desk.job(job).spec.request_id, attempt) for job, attempt, _ in where(effects)] == [("first", 2)]


def test_a_demand_that_nobody_serves_keeps_no_other_waiting() -> None:
    desk = Desk()
    desk.submit("nobody", src="de", tgt="de", priority=9)
    desk.submit("somebody")
    assert drained_order(desk) == ["somebody"]


# --- delivery -----------------------------------------------------------------------------------------------------


def test_results_of_a_session_are_delivered_in_the_order_in_which_it_spoke() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    jobs = [desk.submit(f"r{n}", session="s1") for n in range(3)]
    assert told(desk.run(jobs[2]), Delivered) == []
    assert told(desk.run(jobs[1]), Delivered) == []
    assert [d.utterance_index for d in told(desk.run(jobs[0]), Delivered)] == [0, 1, 2]


def test_a_gap_is_announced_after_five_seconds_and_what_comes_later_is_marked_late() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    slow, quick = desk.submit("r0", session="s1"), desk.submit("r1", session="s1")
    desk.report(accepted(slow))
    desk.run(quick)
    assert events(desk.wait(4_999)) == []
    missing, delivered = events(desk.wait(1))
    assert missing == MissingResult(session="s1", first_index=0, last_index=0, why=f"not finished yet: {slow}")
    assert isinstance(delivered, Delivered)
    assert (delivered.job_id, delivered.is_late) == (quick, False)
    late = only(told(desk.report(finished(slow)), Delivered))
    assert (late.job_id, late.is_late) == (slow, True)
    assert (desk.brain.counters.gaps, desk.brain.counters.late_results) == (1, 1)


def test_a_gap_that_nobody_submitted_says_so() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    desk.run(desk.submit("r5", session="s1", utterance_index=5))
    assert only(told(desk.wait(5_000), MissingResult)) == MissingResult(
        session="s1", first_index=0, last_index=4, why="not submitted"
    )


def test_a_failed_or_cancelled_job_fills_its_place() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    gone, unserved = desk.submit("r0", session="s1"), desk.submit("r1", session="s1", src="de", tgt="de")
    good = desk.submit("r2", session="s1", deadline_ms=60_000)
    assert [d.outcome.status for d in told(desk.cancel(gone), Delivered)] == ["cancelled"]
    assert desk.status(good) == "pending", "it never overtakes the one before it"
    effects = desk.wait(10_000)
    assert [(d.job_id, d.outcome.status) for d in told(effects, Delivered)] == [(unserved, "failed")]
    assert [d.utterance_index for d in told(desk.run(good), Delivered)] == [2]


def test_an_absurd_utterance_index_costs_no_time() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    began_s = time.process_time()
    desk.run(desk.submit("r0", session="s1", utterance_index=2**53))
    missing, delivered = events(desk.wait(5_000))
    assert isinstance(missing, MissingResult)
    assert (missing.first_index, missing.last_index) == (0, 2**53 - 1)
    assert isinstance(delivered, Delivered)
    late = desk.run(desk.submit("r1", session="s1", utterance_index=2**52))
    assert [d.is_late for d in told(late, Delivered)] == [True]
    assert time.process_time() - began_s < 1


# --- clients ------------------------------------------------------------------------------------------------------


def test_a_cancelled_job_that_waits_ends_at_once() -> None:
    desk = Desk()
    job = desk.submit()
    effects = desk.cancel(job)
    assert only(answers(effects)) == Accepted(job_id=job)
    assert only(told(effects, Delivered)).outcome.status == "cancelled"
    assert len(desk.brain.waiting) == 0


def test_a_cancelled_job_that_runs_is_stopped_and_its_result_changes_nothing() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=1))
    job = desk.submit()
    desk.report(accepted(job))
    assert orders(desk.cancel(job)) == [StopRun(job_id=job, attempt=1)]
    assert (desk.free(), desk.spent()) == (0, 1)
    assert events(desk.report(finished(job))) == []
    assert (desk.status(job), desk.free(), desk.spent()) == ("cancelled", 1, 0)


def test_cancelling_twice_or_what_has_ended_changes_nothing() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit()
    desk.run(job)
    effects = desk.cancel(job)
    assert only(answers(effects)) == Accepted(job_id=job)
    assert (events(effects), desk.status(job)) == ([], "completed")


def test_nobody_cancels_the_job_of_another_client() -> None:
    desk = Desk()
    job = desk.submit(client="c1")
    refusal = only(answers(desk.cancel(job, client="c2")))
    assert not isinstance(refusal, Accepted)
    assert (refusal.refusal.code, desk.status(job)) == (Code.UNKNOWN_JOB, "pending")


def test_a_client_that_is_gone_loses_what_waits_and_nothing_else() -> None:
    desk = Desk(DispatchRules(pending_timeout_ms=60_000))
    desk.offer(a_node("node-a", slots=1))
    running, waiting = desk.submit("r1"), desk.submit("r2")
    others = desk.submit("r3", client="c2")
    desk.report(accepted(running))
    effects = desk.wait(9_999, polling=["c2"])
    assert desk.status(waiting) == "pending"
    effects = desk.wait(1, polling=["c2"])
    assert [effect.client_id for effect in effects if isinstance(effect, DropClient)] == ["c1"]
    error = desk.job(waiting).outcome
    assert error is not None
    assert error.error is not None
    assert error.error.code is Code.CLIENT_GONE
    assert [desk.status(job) for job in (running, waiting, others)] == ["processing", "cancelled", "pending"]
    desk.report(finished(running))
    assert [desk.status(job) for job in (running, others)] == ["completed", "assigned"]


def test_a_client_that_is_gone_when_its_waiting_jobs_run_out_of_time_is_one_ending_for_them() -> None:
    desk = Desk(DispatchRules(pending_timeout_ms=10_000, client_ttl_ms=10_000))
    job = desk.submit()
    desk.wait(10_000, polling=[])
    assert desk.status(job) in {"cancelled", "failed"}
    assert sum(desk.brain.counters.ended.values()) == 1


def test_a_client_that_comes_back_gets_what_ended_meanwhile_by_asking_again() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    desk.report(accepted(job))
    desk.wait(12_000, polling=[])
    desk.report(finished(job, text="hello"))
    again = desk.say(Submit(spec=a_spec("r1")))
    assert only(told(again, Delivered)).outcome.text == "hello"


def test_a_client_that_is_gone_is_told_nothing_more() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit("r1")
    desk.report(accepted(job))
    desk.wait(12_000, polling=[])
    effects = desk.report(finished(job))
    assert [effect for effect in effects if isinstance(effect, TellClient)] == []


def test_a_job_of_a_client_that_is_gone_is_not_tried_again() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = desk.submit()
    desk.report(accepted(job))
    desk.wait(10_000, polling=[])
    desk.offer()
    outcome = desk.job(job).outcome
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code is Code.CLIENT_GONE


def test_a_session_without_jobs_is_forgotten_after_an_hour_and_at_once_with_its_client() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    desk.run(desk.submit("r1", session="s1"))
    desk.run(desk.submit("r2", session="s2", client="c2"), node="node-a")
    desk.wait(30_000, polling=["c1"])
    assert set(desk.brain.sessions) == {("c1", "s1")}
    desk.wait(3_600_000 - 30_000, polling=["c1"])
    assert desk.brain.sessions == {}


# --- the six clean-up cases ---------------------------------------------------------------------------------------


def ended(desk: Desk, name: str, how: str) -> str:
    """A job that has ended this way."""
    job = desk.submit(name)
    if how == "cancelled":
        desk.cancel(job)
        desk.report(stopped(job))
    elif how == "failed":
        desk.report(accepted(job))
        for attempt in (1, 2, 3, 4):
            desk.brain.jobs[job].client_id = "c1"
            desk.report(accepted(job, attempt), stopped(job, attempt))
    else:
        desk.run(job, text="hello" if how == "completed" else "")
    assert desk.status(job) == how
    return job


def test_clean_up_of_nothing_removes_nothing() -> None:
    cleaned = Desk().clean_up(300_000)
    assert (cleaned.jobs, cleaned.record_bytes, cleaned.kept) == (0, 0, 0)


def test_clean_up_keeps_pending_assigned_and_processing_jobs_however_old() -> None:
    desk = Desk(DispatchRules(run_timeout_ms=9_000_000, push_timeout_ms=9_000_000))
    desk.offer(a_node("node-a", slots=2))
    jobs = [desk.submit(f"r{n}", deadline_ms=9_000_000) for n in range(3)]
    desk.report(accepted(jobs[0]))
    assert {desk.status(job) for job in jobs} == {"processing", "assigned", "pending"}
    desk.wait(3_000_000)
    assert desk.clean_up(0).jobs == 0
    assert set(desk.brain.jobs) == set(jobs)


@pytest.mark.parametrize("how", ["completed", "failed", "completed_no_text", "cancelled"])
def test_clean_up_removes_ended_jobs_that_are_old(how: str) -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    ended(desk, "r1", how)
    desk.wait(300_000)
    cleaned = desk.clean_up(300_000)
    assert (cleaned.jobs, cleaned.kept, desk.brain.jobs) == (1, 0, {})
    assert cleaned.record_bytes > 100


def test_clean_up_keeps_jobs_that_ended_recently() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    job = ended(desk, "r1", "completed")
    desk.wait(299_999)
    cleaned = desk.clean_up(300_000)
    assert (cleaned.jobs, cleaned.kept, set(desk.brain.jobs)) == (0, 1, {job})


def test_clean_up_of_a_mixture_removes_only_old_ended_jobs_and_their_request_ids() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=2))
    old = ended(desk, "old", "completed")
    old_failed = ended(desk, "old failed", "failed")
    desk.wait(100_000)
    recent = ended(desk, "recent", "completed")
    running, assigned, waiting = (desk.submit(f"r{n}") for n in range(3))
    desk.report(accepted(running))
    effects = desk.handle(CleanupDue(100_000))
    saves = [effect.change for effect in effects if isinstance(effect, Save)]
    assert {save.job_id for save in saves if isinstance(save, ForgetJob)} == {old, old_failed}
    assert set(desk.brain.jobs) == {recent, running, assigned, waiting}
    assert desk.submit("old failed") != old_failed, "its request id is free again"


def test_clean_up_looks_only_at_what_it_removes() -> None:
    desk = Desk()
    desk.offer(a_node("node-a"))
    old = ended(desk, "old", "completed")
    desk.wait(1_000)
    kept = [ended(desk, f"r{n}", "completed") for n in range(2_000)]
    looked_at = CountingJobs(desk.brain.jobs)
    desk.brain.jobs = looked_at
    effects = desk.handle(CleanupDue(1_000))
    assert [effect.change for effect in effects if isinstance(effect, Save)] == [
        SaveSpeeds(node_id="node-a", speeds={"en:en": 2.0}),
        ForgetJob(job_id=old),
    ]
    assert (looked_at.n_looks, len(looked_at)) == (1, len(kept))


class CountingJobs(dict):  # type: ignore[type-arg]
    """Jobs that count how often somebody looks at one of them."""

    n_looks = 0

    def pop(self, *args: object) -> object:
        self.n_looks += 1
        return super().pop(*args)

    def __getitem__(self, key: object) -> object:
        self.n_looks += 1
        return super().__getitem__(key)

    def values(self) -> Any:
        self.n_looks += len(self)
        return super().values()


def test_a_job_that_is_cleaned_up_while_its_turn_has_not_come_is_still_delivered() -> None:
    desk = Desk()
    desk.offer(a_node("node-a", slots=9))
    first, second = desk.submit("r0", session="s1"), desk.submit("r1", session="s1")
    desk.report(accepted(first))
    desk.run(second)
    desk.clean_up(0)
    assert [d.job_id for d in told(desk.report(finished(first)), Delivered)] == [first, second]


def test_a_sweep_of_an_idle_scheduler_does_nothing() -> None:
    assert Desk().handle(Swept()) == []
