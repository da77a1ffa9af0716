"""What becomes due and what is due no more: waiting jobs, pushes, runs, gaps, clients, sessions, orders to stop."""

import pytest

from ray_sched.core.effects import Log, PoolOffered, StoreWentAway, Swept
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.client_dispatcher import Delivered, Outcome, PushFailed
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    DispatchHarness,
    a_draining_node,
    a_node,
    accepted,
    an_offer,
    failed,
    finished,
    only,
    receipt,
    refused,
    stopped,
    told,
    where,
)
from tests.support.saving_harness import SavingHarness

GONE = "the client that holds the audio has not been heard of"


def outcome_of(harness: DispatchHarness, job: str) -> Outcome:
    outcome = harness.job(job).outcome
    assert outcome is not None
    return outcome


def error_of(harness: DispatchHarness, job: str) -> Refusal:
    error = outcome_of(harness, job).error
    assert error is not None
    return error


# --- jobs that wait -----------------------------------------------------------------------------------------------


def test_a_waiting_job_that_was_taken_over_fails_when_its_time_is_up() -> None:
    harness = SavingHarness()
    job = harness.submit(deadline_ms=30_000)
    harness.crash()
    harness.wait(29_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert (harness.status(job), error_of(harness, job).code) == ("failed", Code.NO_AVAILABLE_NODE)


def test_a_waiting_job_whose_time_was_up_while_nobody_decided_has_as_long_as_its_client_has_to_come_back() -> None:
    harness = SavingHarness()
    job = harness.submit()
    harness.now_ms += 60_000
    harness.crash()
    harness.wait(9_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert harness.status(job) == "failed"


def test_an_assigned_job_that_was_taken_over_is_awaited_as_long_as_its_client() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.crash()
    harness.wait(9_999)
    assert (harness.status(job), harness.job(job).attempt) == ("assigned", 1)
    harness.wait(1)
    assert (harness.status(job), harness.job(job).attempt) == ("pending", 2)
    assert harness.job(job).attempts[0].why == "PUSH_TIMEOUT: the audio was not accepted in 10 s"


def test_a_job_that_waits_again_has_as_long_as_a_new_one_or_until_its_own_deadline() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job, patient = harness.submit("r1"), harness.submit("r2", deadline_ms=50_000)
    harness.report(accepted(job), accepted(patient))
    harness.wait(8_000)
    harness.offer()
    assert (harness.status(job), harness.status(patient)) == ("pending", "pending")
    harness.wait(9_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert (harness.status(job), harness.status(patient)) == ("failed", "pending")
    harness.wait(50_000 - 18_000 - 1)
    assert harness.status(patient) == "pending"
    harness.wait(1)
    assert harness.status(patient) == "failed"


def test_a_job_whose_own_deadline_has_passed_is_not_started_again() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    late, soon = harness.submit("r1", deadline_ms=3_000), harness.submit("r2", deadline_ms=9_000)
    harness.report(accepted(late), accepted(soon))
    harness.wait(4_000)
    harness.offer(a_node("node-b"))
    assert (harness.status(late), harness.status(soon)) == ("failed", "assigned")
    says = "its deadline had passed when an attempt ended: attempt 1 on node-a: NODE_LOST: the node left its pool"
    assert error_of(harness, late) == Refusal(code=Code.DEADLINE_EXCEEDED, message=says)


def test_a_job_that_waits_again_keeps_its_own_deadline() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1", deadline_ms=3_000)
    harness.report(accepted(job))
    harness.wait(1_000)
    harness.offer()
    harness.wait(1_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert harness.status(job) == "failed"


def test_a_job_that_was_assigned_in_time_does_not_run_out_of_it() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    harness.wait(9_000)
    harness.offer(a_node("node-a"))
    harness.report(accepted(job))
    harness.wait(9_000)
    assert harness.status(job) == "processing"


def test_a_job_that_goes_back_to_pending_in_the_sweep_in_which_its_client_is_gone_is_cancelled_with_it() -> None:
    harness = DispatchHarness(DispatchRules(client_ttl_ms=2_000, push_timeout_ms=1_000))
    harness.offer(a_node("node-a"))
    job = harness.submit(audio_ms=1)
    harness.now_ms += 2_000
    effects = harness.handle(Swept())
    assert (harness.status(job), harness.job(job).attempt) == ("cancelled", 2)
    assert error_of(harness, job) == Refusal(code=Code.CLIENT_GONE, message=GONE)
    assert [effect.text for effect in effects if isinstance(effect, Log)] == [
        "client c1 has not been heard of for 2 s: 1 waiting job cancelled, 0 left to run"
    ]


def test_a_job_with_a_deadline_of_its_own_is_not_waited_for_longer_while_the_store_is_away() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=3_000))
    patient, hurried = harness.submit("r1"), harness.submit("r2", deadline_ms=3_000)
    harness.handle(StoreWentAway())
    harness.wait(3_000)
    assert (harness.status(patient), harness.status(hurried)) == ("pending", "failed")


# --- pushes and runs ----------------------------------------------------------------------------------------------


def test_a_run_has_its_time_from_the_moment_in_which_its_acceptance_is_heard() -> None:
    harness = DispatchHarness(DispatchRules(run_timeout_ms=5_000, run_timeout_factor=2.0))
    harness.offer(a_node("node-a", slots=2))
    short, long = harness.submit("r1"), harness.submit("r2")
    harness.now_ms += 1_500
    harness.report(accepted(short), accepted(long, audio_ms=4_000))
    harness.wait(4_999)
    assert harness.job(short).attempt == 1
    harness.wait(1)
    assert harness.job(short).attempts[0].why == "JOB_TIMEOUT: not finished 5 s after acceptance"
    harness.wait(2_999)
    assert harness.job(long).attempt == 1
    harness.wait(1)
    assert harness.job(long).attempt == 2


def test_a_push_that_was_reported_as_failed_leaves_no_time_set_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(deadline_ms=60_000)
    harness.send(PushFailed(job_id=job, attempt=1, why="no way"))
    harness.offer()
    harness.wait(3_000)
    assert (harness.status(job), harness.job(job).attempt) == ("pending", 2)


def test_an_ended_job_leaves_no_time_set_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1"))
    harness.cancel(harness.submit("r2", src="de", tgt="de"))
    assert harness.brain.sizes()["due"] == 1, "that of its client"


def test_an_acceptance_ends_the_refusals_in_a_row() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    harness.report(refused(job))
    harness.now_ms += 50
    assert where(harness.handle(Swept())) == [(job, 2, "node-a")]
    harness.report(accepted(job, 2))
    harness.report(refused(job, 2))
    harness.now_ms += 49
    assert where(harness.handle(Swept())) == []
    harness.now_ms += 1
    assert where(harness.handle(Swept())) == [(job, 3, "node-a")]


def test_a_finish_whose_acceptance_was_not_heard_ends_the_refusals_in_a_row_as_well() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    first = harness.submit("r1")
    harness.report(refused(first))
    harness.now_ms += 50
    harness.handle(Swept())
    harness.report(finished(first, 2))
    outcome = outcome_of(harness, first)
    assert (outcome.audio_ms, outcome.wait_ms, outcome.attempt) == (1_000, 50, 2)
    second = harness.submit("r2")
    harness.report(refused(second))
    harness.now_ms += 50
    assert where(harness.handle(Swept())) == [(second, 2, "node-a")]


def test_audio_was_accepted_when_the_agent_says_but_not_before_it_was_assigned() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    one, other = harness.submit("r1"), harness.submit("r2")
    began_ms = harness.now_ms
    harness.now_ms += 1_000
    harness.report(accepted(one).__class__(job_id=one, attempt=1, audio_ms=1_000, audio_bytes=1, age_ms=300))
    harness.report(accepted(one).__class__(job_id=other, attempt=1, audio_ms=1_000, audio_bytes=1, age_ms=5_000))
    assert [harness.job(job).accepted_at_ms - began_ms for job in (one, other)] == [700, 0]


def test_a_stop_that_was_confirmed_leaves_no_time_set_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.cancel(job)
    assert harness.brain.sizes() | {"jobs": 0} == {
        "jobs": 0,
        "requests": 1,
        "nodes": 0,
        "fenced": 1,
        "waiting": 0,
        "clients": 1,
        "sessions": 0,
        "reservations": 0,
        "pushes": 0,
        "ended": 1,
        "record_bytes": 1,
        "due": 2,
    }
    harness.report(stopped(job))
    assert (harness.brain.sizes()["due"], harness.brain.sizes()["fenced"]) == (1, 0)


# --- sessions and clients -----------------------------------------------------------------------------------------


def test_a_gap_that_was_filled_in_time_leaves_no_time_set_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    first, second = harness.submit("r1", session="s"), harness.submit("r2", session="s")
    harness.report(accepted(first))
    harness.run(second)
    assert harness.brain.sizes()["due"] == 4, "those of the client, the session, the run and the gap"
    harness.report(finished(first))
    assert harness.brain.sizes()["due"] == 2, "those of the client and the session"


def test_a_session_that_is_forgotten_leaves_nothing_behind() -> None:
    harness = DispatchHarness(DispatchRules(session_ttl_ms=30_000))
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1", session="s"))
    harness.wait(29_999)
    assert (harness.brain.sizes()["sessions"], harness.brain.sizes()["due"]) == (1, 2)
    harness.wait(1)
    assert (harness.brain.sizes()["sessions"], harness.brain.sizes()["due"]) == (0, 1)


def test_a_session_is_forgotten_so_long_after_its_last_job_was_assigned() -> None:
    harness = DispatchHarness(DispatchRules(session_ttl_ms=30_000))
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r1", session="s"))
    harness.wait(20_000)
    harness.run(harness.submit("r2", session="s"))
    harness.wait(29_999)
    assert set(harness.brain.sessions) == {("c1", "s")}
    harness.wait(1)
    assert harness.brain.sessions == {}


def test_a_session_with_something_open_is_looked_at_again_when_a_client_would_be_gone() -> None:
    harness = DispatchHarness(DispatchRules(session_ttl_ms=20_000, client_ttl_ms=4_000))
    harness.offer(a_node("node-a"))
    job = harness.submit("r1", session="s")
    harness.report(accepted(job))
    harness.wait(22_000)
    harness.report(finished(job))
    harness.wait(1_999)
    assert set(harness.brain.sessions) == {("c1", "s")}
    harness.wait(1)
    assert harness.brain.sessions == {}


def test_a_client_is_gone_so_long_after_it_was_last_heard_of() -> None:
    harness = DispatchHarness()
    job = harness.submit(deadline_ms=60_000)
    harness.wait(5_000)
    harness.wait(9_999, polling=())
    assert harness.status(job) == "pending"
    harness.wait(1, polling=())
    assert (harness.status(job), error_of(harness, job).message) == ("cancelled", GONE)
    assert harness.brain.sizes()["clients"] == 0


def test_a_sweep_that_comes_late_finds_the_client_gone_its_session_over_and_the_gap_filled() -> None:
    harness = DispatchHarness(DispatchRules(client_ttl_ms=1_000, session_ttl_ms=2_000))
    harness.offer(a_node("node-a", slots=1))
    second = harness.submit("r2", session="s", utterance_index=1)
    first = harness.submit("r1", session="s", utterance_index=0)
    harness.report(accepted(second))
    harness.offer(a_draining_node("node-a", slots=1))
    harness.report(finished(second))
    harness.now_ms += 6_000
    harness.handle(Swept())
    assert (harness.status(first), harness.status(second)) == ("cancelled", "completed")
    assert (harness.brain.sizes()["sessions"], harness.brain.sizes()["clients"], harness.brain.sizes()["due"]) == (
        0,
        0,
        0,
    )


# --- offers -------------------------------------------------------------------------------------------------------


def test_an_offer_that_comes_twice_is_one_offer() -> None:
    harness = DispatchHarness()
    harness.handle(PoolOffered(an_offer(a_node("node-a", slots=1), number=1, term_ms=10_000)))
    harness.now_ms += 9_999
    again = an_offer(a_draining_node("node-a", slots=1), number=1, term_ms=10_000)
    assert receipt(harness.handle(PoolOffered(again))) == {"node-a": 0}
    assert harness.free() == 1
    harness.now_ms += 1
    assert harness.status(harness.submit()) == "pending"


# --- when it is enough --------------------------------------------------------------------------------------------


def test_a_failure_tells_the_last_five_attempts_and_each_reason_is_kept_short() -> None:
    harness = DispatchHarness(DispatchRules(max_refusals=6))
    harness.offer(a_node("node-a"))
    job = harness.submit(deadline_ms=100_000)
    for attempt in range(1, 8):
        harness.report(refused(job, attempt, why="x" * 501))
        harness.wait(2_000)
    message = error_of(harness, job).message
    assert message.startswith("gave up after 7 attempts: attempt 3 on node-a: NODE_REFUSED: xx")
    assert [note.why for note in harness.job(job).attempts] == ["NODE_REFUSED: " + "x" * 500] * 7
    assert harness.brain.counters.refused == 7


@pytest.mark.parametrize(("n_failovers", "status"), [(3, "assigned"), (4, "failed")])
def test_a_job_goes_back_to_pending_three_times_and_no_oftener(n_failovers: int, status: str) -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(deadline_ms=60_000)
    for attempt in range(1, n_failovers + 1):
        harness.report(stopped(job, attempt))
    assert (harness.status(job), harness.job(job).failovers) == (status, n_failovers)
    assert harness.brain.counters.requeued == 3


def test_a_job_that_never_was_accepted_has_waited_all_its_life() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    harness.wait(4_000)
    assert only(told(harness.cancel(job), Delivered)).outcome.wait_ms == 4_000
    assert harness.job(job).status is JobStatus.CANCELLED


def test_a_node_that_failed_too_often_is_told_to_whoever_is_on_call() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=9))
    logged: list[str] = []
    for n in range(3):
        job = harness.submit(f"r{n}")
        effects = harness.report(accepted(job), failed(job, code=Code.INVALID_AUDIO))
        logged += [effect.text for effect in effects if isinstance(effect, Log)]
    assert logged == ["node-a failed too often and rests for 30 s"]
