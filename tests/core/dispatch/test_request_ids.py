"""The same request id again: the same job, or a new one if that has failed for no fault of its own."""

import pytest

from ray_sched.core.errors import ABOUT, EXIT_STATUS, About, Code, Refusal
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.messages.client_dispatcher import Accepted, Delivered, MissingResult, Outcome, Submit
from ray_sched.core.rules import DispatchRules
from tests.support.builders import DispatchHarness, a_node, a_spec, accepted, answers, events, finished, only, told
from tests.support.saving_harness import SavingHarness

ABOUT_JOBS = {
    Code.INVALID_MESSAGE,
    Code.INVALID_AUDIO,
    Code.INVALID_LANGUAGE,
    Code.DUPLICATE_REQUEST,
    Code.DUPLICATE_INDEX,
    Code.JOB_TIMEOUT,
    Code.ENGINE_FAILED,
    Code.ENGINE_CRASHED,
    Code.POISON_JOB,
}
NO_NODE_YET = DispatchRules(pending_timeout_ms=1_000)


def a_failed_job(code: Code) -> Job:
    """As it is saved: request r1 of client c1, which was notified."""
    refusal = Refusal(code=code, message="no")
    return Job(
        job_id="old-1",
        client_id="c1",
        spec=a_spec("r1", submission="first"),
        utterance_index=None,
        created_at_ms=900_000,
        number=1,
        status=JobStatus.FAILED,
        ended_at_ms=950_000,
        outcome=Outcome(status="failed", error=refusal),
        is_delivered=True,
    )


@pytest.mark.parametrize("code", Code)
def test_a_failure_that_is_not_about_the_job_is_a_new_job_when_it_is_asked_for_again(code: Code) -> None:
    harness = DispatchHarness()
    harness.brain.restore([a_failed_job(code)], harness.now_ms)
    answer = harness.answer("r1", submission="second")
    is_new = code not in ABOUT_JOBS
    assert answer == Accepted(job_id="boot-2" if is_new else "old-1", is_duplicate=not is_new)
    assert harness.brain.counters.duplicates == (not is_new)


@pytest.mark.parametrize("code", sorted(set(Code) - {Code.CLIENT_GONE}))
def test_a_call_that_is_repeated_is_answered_as_before_whatever_its_job_has_died_of(code: Code) -> None:
    harness = DispatchHarness()
    harness.brain.restore([a_failed_job(code)], harness.now_ms)
    again = harness.send(Submit(spec=a_spec("r1", submission="first")))
    assert only(told(again, Delivered)).job_id == "old-1"
    assert len(harness.brain.jobs) == 1


def test_every_code_says_what_it_is_about_and_the_exit_statuses_are_those_of_the_same_table() -> None:
    assert set(ABOUT) == set(Code)
    assert {code for code, about in ABOUT.items() if about is About.JOB} == ABOUT_JOBS
    assert 1 not in EXIT_STATUS.values()


def test_a_job_that_completed_is_not_run_again() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit("r1", submission="first")
    harness.run(job)
    again = harness.send(Submit(spec=a_spec("r1", submission="second")))
    assert only(told(again, Delivered)).outcome.text == "hello"


def test_a_job_that_found_no_node_is_run_when_it_is_submitted_again_and_there_is_one() -> None:
    harness = DispatchHarness(NO_NODE_YET)
    job = harness.submit("r1", submission="first")
    harness.wait(2_000)
    assert harness.status(job) == "failed"
    harness.offer(a_node("node-a"))
    new = harness.submit("r1", submission="second")
    harness.run(new)
    assert (harness.status(job), harness.status(new)) == ("failed", "completed")
    assert harness.answer("r1", submission="third") == Accepted(job_id=new, is_duplicate=True)


def test_a_job_that_was_cancelled_is_run_when_it_is_submitted_again() -> None:
    harness = DispatchHarness()
    job = harness.submit("r1", submission="first")
    harness.cancel(job)
    assert harness.answer("r1", submission="first") == Accepted(job_id=job, is_duplicate=True)
    assert harness.submit("r1", submission="second") != job


def test_a_new_job_of_the_same_request_has_to_have_the_same_content_and_a_place_in_the_queue() -> None:
    harness = DispatchHarness(DispatchRules(max_waiting_jobs=1))
    job = harness.submit("r1", submission="first")
    harness.cancel(job)
    assert harness.refusal("r1", submission="second", src="de", tgt="de").code is Code.DUPLICATE_REQUEST
    harness.submit("r2")
    assert harness.refusal("r1", submission="second").code is Code.OVERLOADED
    assert harness.answer("r1", submission="first") == Accepted(job_id=job, is_duplicate=True)


# --- in a session -------------------------------------------------------------------------------------------------


def test_a_new_job_has_the_place_of_the_one_that_failed_and_is_late_if_the_session_has_gone_on() -> None:
    harness = DispatchHarness(NO_NODE_YET)
    harness.submit("r1", session="s", submission="first")
    harness.wait(2_000)
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r2", session="s"))
    answer = harness.answer("r1", session="s", submission="second")
    assert isinstance(answer, Accepted)
    assert answer.utterance_index == 0
    delivered = only(told(harness.run(answer.job_id), Delivered))
    assert (delivered.utterance_index, delivered.is_late, delivered.outcome.text) == (0, True, "hello")
    assert harness.refusal("r3", session="s", utterance_index=0).code is Code.DUPLICATE_INDEX


def test_a_failure_that_was_not_delivered_yet_is_the_answer_to_everybody_who_asks() -> None:
    harness = DispatchHarness(NO_NODE_YET)
    harness.submit("r1", session="s", deadline_ms=60_000)
    job = harness.submit("r2", session="s", submission="first")
    harness.wait(2_000)
    assert harness.status(job) == "failed"
    assert harness.answer("r2", session="s", submission="second") == Accepted(
        job_id=job, is_duplicate=True, utterance_index=1
    )


def test_what_was_cancelled_is_run_for_another_call_though_its_session_holds_it_back() -> None:
    harness = DispatchHarness()
    first = harness.submit("r1", session="s")
    job = harness.submit("r2", session="s", submission="first")
    harness.cancel(job)
    assert harness.answer("r2", session="s", submission="first") == Accepted(
        job_id=job, is_duplicate=True, utterance_index=1
    )
    again = harness.send(Submit(spec=a_spec("r2", session="s", submission="second")))
    cancelled = only(told(again, Delivered))  # for the call before; nothing is late, and nothing is out of order
    assert (cancelled.job_id, cancelled.session, cancelled.utterance_index) == (job, "s", None)
    new = only(answers(again))
    assert isinstance(new, Accepted)
    assert (new.job_id != job, new.utterance_index) == (True, 1)
    harness.offer(a_node("node-a"))
    delivered = told(harness.run(new.job_id) + harness.run(first), Delivered)
    assert [(event.job_id, event.is_late) for event in delivered] == [(first, False), (new.job_id, False)]


def test_a_place_that_another_job_has_taken_meanwhile_is_refused() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=1_000, session_ttl_ms=1))
    harness.submit("r1", session="s", submission="first")
    harness.wait(30_000, polling=[])
    assert harness.brain.sessions == {}
    harness.submit("r2", session="s")
    assert harness.refusal("r1", session="s", submission="second").code is Code.DUPLICATE_INDEX


def test_a_call_that_was_answered_keeps_its_job_though_another_has_its_place_in_the_session_that_began_anew() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=30_000))
    harness.submit("r1", session="s")
    harness.wait(12_000, polling=[])
    assert harness.brain.sessions == {}
    harness.submit("r2", session="s")
    answer = harness.answer("r1", session="s", utterance_index=0)
    assert isinstance(answer, Accepted)
    assert (answer.is_duplicate, answer.utterance_index) == (False, 1)
    assert harness.answer("r1", session="s", utterance_index=0) == Accepted(
        job_id=answer.job_id, is_duplicate=True, utterance_index=1
    )


# --- a client that was gone ---------------------------------------------------------------------------------------


def test_a_client_that_was_gone_and_asks_again_has_new_jobs_in_the_same_order_without_a_gap() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    for n in range(3):
        harness.run(harness.submit(f"r{n}", session="s"))
    harness.offer()
    for n in range(3, 6):
        harness.submit(f"r{n}", session="s")
    harness.wait(12_000, polling=[])
    harness.offer(a_node("node-a", slots=1))
    jobs = [harness.submit(f"r{n}", session="s", utterance_index=n) for n in range(3, 6)]
    effects = [effect for job in jobs for effect in harness.run(job)] + harness.wait(6_000)
    assert told(effects, MissingResult) == []
    delivered = told(effects, Delivered)
    assert [(event.utterance_index, event.is_late) for event in delivered] == [(3, False), (4, False), (5, False)]


def test_what_was_held_back_when_its_client_was_gone_is_awaited_anew_in_its_place() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    running, waiting = harness.submit("r0", session="s"), harness.submit("r1", session="s")
    harness.report(accepted(running))
    harness.wait(12_000, polling=[])
    assert (harness.status(running), harness.status(waiting)) == ("processing", "cancelled")
    new = harness.submit("r1", session="s", utterance_index=1)
    effects = harness.report(finished(running)) + harness.run(new)
    delivered = told(effects, Delivered)
    assert [(event.job_id, event.is_late) for event in delivered] == [(running, False), (new, False)]


def test_the_deadline_of_a_call_goes_on_while_its_client_is_gone() -> None:
    harness = DispatchHarness()
    harness.submit("r1", deadline_ms=15_000)
    harness.wait(12_000, polling=[])
    new = harness.submit("r1", deadline_ms=15_000)
    assert harness.job(new).deadline_at_ms == 1_015_000


def test_a_call_whose_deadline_has_passed_while_its_client_was_gone_is_not_tried_again() -> None:
    harness = DispatchHarness(DispatchRules(client_ttl_ms=1_000))
    job = harness.submit("r1", deadline_ms=2_000)
    harness.wait(2_000, polling=[])
    assert harness.answer("r1", deadline_ms=2_000) == Accepted(job_id=job, is_duplicate=True)
    assert harness.submit("r1", deadline_ms=2_000, submission="another") != job


# --- what is kept -------------------------------------------------------------------------------------------------


def test_after_a_restart_a_request_is_its_newest_job_and_the_old_one_is_not_delivered_again() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a", slots=1))
    running, waiting = harness.submit("r0", session="s"), harness.submit("r1", session="s")
    harness.report(accepted(running))
    harness.wait(12_000, polling=[])
    new = harness.submit("r1", session="s", utterance_index=1)
    harness.crash()
    harness.poll()
    harness.offer(a_node("node-a", slots=2))
    assert harness.answer("r1", session="s").job_id == new  # type: ignore[union-attr]  # or the test fails
    effects = harness.report(finished(running)) + harness.run(new)
    assert [event.job_id for event in told(effects, Delivered)] == [running, new]
    assert waiting != new


@pytest.mark.parametrize("is_newer_open", [True, False])
def test_whichever_clock_the_records_have_a_job_that_has_not_ended_is_the_one_of_its_request(
    *, is_newer_open: bool
) -> None:
    ended = a_failed_job(Code.NO_AVAILABLE_NODE)
    waits = Job(
        job_id="old-2",
        client_id="c1",
        spec=a_spec("r1"),
        utterance_index=None,
        created_at_ms=900_001 if is_newer_open else 899_999,
        number=2,
        deadline_at_ms=2_000_000,
    )
    harness = DispatchHarness()
    harness.brain.restore([ended, waits], harness.now_ms)
    assert harness.answer("r1", submission="second") == Accepted(job_id="old-2", is_duplicate=True)


def test_a_failed_job_that_is_cleaned_up_leaves_the_request_to_the_new_one() -> None:
    harness = DispatchHarness()
    harness.cancel(harness.submit("r1", submission="first"))
    new = harness.submit("r1", submission="second")
    assert harness.clean_up(0).jobs == 1
    assert harness.answer("r1", submission="third") == Accepted(job_id=new, is_duplicate=True)
    harness.cancel(new)
    harness.clean_up(0)
    assert {name: harness.brain.sizes()[name] for name in ("jobs", "requests")} == {"jobs": 0, "requests": 0}


def test_a_repeated_request_that_is_a_new_job_repeats_nothing_of_the_old_one() -> None:
    harness = DispatchHarness()
    harness.cancel(harness.submit("r1", submission="first"))
    assert events(harness.send(Submit(spec=a_spec("r1", submission="second")))) == []
