"""What the Dispatcher writes down of a job at each of its steps, and what a restart makes of it."""

from typing import Any

from ray_sched.core.dispatch.reservations import Reservations
from ray_sched.core.effects import CleanupDue, Log, Save, StoreWasEmptied, SubmitsWithdrawn, Swept
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Fenced, Job, JobStatus, to_record
from ray_sched.core.messages.agent_dispatcher import DropSpeech, RunFinished
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Assigned,
    AttemptNote,
    Delivered,
    Outcome,
    PushFailed,
    SpeechFetched,
    SpeechLost,
    Submit,
)
from ray_sched.core.ports import ForgetJob, SaveJob
from ray_sched.core.rules import DispatchRules
from tests.support.builders import (
    EN_ES,
    DispatchHarness,
    a_node,
    a_spec,
    accepted,
    answers,
    events,
    finished,
    only,
    orders,
    refused,
    stopped,
    told,
    where,
)
from tests.support.saving_harness import SavingHarness


def facts(job: Job, *names: str) -> dict[str, Any]:
    return {name: getattr(job, name) for name in names}


def test_a_new_job_is_written_down_with_its_number_its_times_and_its_place() -> None:
    harness = DispatchHarness()
    harness.submit("r1")
    harness.now_ms += 5
    job = harness.job(harness.submit("r2", session="s", audio_ms=2_000, deadline_ms=300))
    names = ("job_id", "client_id", "number", "utterance_index", "created_at_ms", "audio_ms", "deadline_at_ms")
    assert facts(job, *names) == {
        "job_id": "boot-2",
        "client_id": "c1",
        "number": 2,
        "utterance_index": 0,
        "created_at_ms": 1_000_005,
        "audio_ms": 2_000,
        "deadline_at_ms": 1_000_305,
    }
    assert job.spec == a_spec("r2", session="s", audio_ms=2_000, deadline_ms=300)
    assert harness.job("boot-1").deadline_at_ms == 1_010_000


def test_an_assigned_and_a_running_job_are_written_down_with_their_node() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", incarnation=4))
    job = harness.job(harness.submit(audio_ms=0))
    names = ("status", "node", "incarnation", "agent", "assigned_at_ms", "accepted_at_ms", "audio_ms", "audio_bytes")
    assert list(facts(job, *names).values()) == ["assigned", "node-a", 4, "agent:node-a", 1_000_000, 0, 0, 0]
    harness.now_ms += 40
    harness.report(accepted(job.job_id, audio_ms=700), incarnation=4)
    assert list(facts(job, *names).values()) == [
        "processing",
        "node-a",
        4,
        "agent:node-a",
        1_000_000,
        1_000_040,
        700,
        22_400,
    ]


def test_a_job_that_waits_again_is_on_no_node_and_remembers_the_one_it_avoids() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.job(harness.submit())
    harness.report(accepted(job.job_id), finished(job.job_id, speech_bytes=640))
    harness.now_ms += 70
    harness.offer()
    names = ("status", "node", "agent", "incarnation", "assigned_at_ms", "accepted_at_ms", "speech", "attempt")
    assert list(facts(job, *names).values()) == ["pending", "", "", 0, 0, 0, None, 2]
    assert (job.excluded_node, job.failovers, job.deadline_at_ms) == ("node-a", 1, 1_010_070)
    assert job.attempts == (AttemptNote(attempt=1, node="node-a", why="NODE_LOST: the node left its pool"),)


def test_a_push_that_failed_is_not_repeated_on_its_node_for_half_a_second() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.job(harness.submit())
    harness.send(PushFailed(job_id=job.job_id, attempt=1, why="no way"))
    assert (job.excluded_node, job.excluded_until_ms) == ("node-a", 1_000_500)


def test_an_ended_job_is_written_down_with_its_outcome_its_end_and_that_it_was_delivered() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), capability=EN_ES)
    job = harness.job(harness.submit(tgt="es", services=("asr", "mt", "tts")))
    harness.report(accepted(job.job_id))
    harness.now_ms += 400
    run = RunFinished(
        job_id=job.job_id,
        attempt=1,
        text="hello",
        translation="hola",
        run_ms=390,
        speech_bytes=640,
        speech_rate_hz=22_050,
    )
    harness.report(run)
    outcome = Outcome(
        status="completed",
        text="hello",
        translation="hola",
        node="node-a",
        attempt=1,
        audio_ms=1_000,
        wait_ms=0,
        run_ms=390,
        speech_bytes=640,
        speech_rate_hz=22_050,
    )
    assert (job.status, job.speech, job.outcome, job.ended_at_ms) == (JobStatus.PROCESSING, outcome, None, 0)
    harness.now_ms += 30
    effects = harness.send(SpeechFetched(job_id=job.job_id, attempt=1))
    assert only(told(effects, Delivered)) == Delivered(
        job_id=job.job_id, session="", utterance_index=None, outcome=outcome
    )
    assert (job.status, job.speech, job.outcome, job.ended_at_ms) == (JobStatus.COMPLETED, None, outcome, 1_000_430)
    assert job.is_delivered


def test_speech_that_was_never_made_is_neither_taken_nor_lost() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    effects = harness.send(
        SpeechFetched(job_id=job, attempt=1), SpeechLost(job_id=job, attempt=1, why="it never was there")
    )
    assert (events(effects), harness.status(job), harness.job(job).attempt) == ([], "processing", 1)


def test_who_cancels_an_utterance_is_answered_with_its_index() -> None:
    harness = DispatchHarness()
    job = harness.submit("r1", session="s", utterance_index=3)
    for _ in range(2):
        assert only(answers(harness.cancel(job))) == Accepted(job_id=job, utterance_index=3)


def test_refusals_and_withdrawn_submits_are_counted_each() -> None:
    harness = DispatchHarness()
    for _ in range(2):
        harness.refusal("")
    for request in ("r1", "r2"):
        harness.submit(request)
    harness.handle(SubmitsWithdrawn("c1", ("r1", "r2")))
    rejected = {Code.INVALID_MESSAGE: 2, Code.SCHEDULER_DEPENDENCY_DOWN: 2}
    assert (harness.brain.counters.rejected, harness.brain.counters.submitted) == (rejected, 0)


def test_jobs_of_a_lost_node_are_told_to_whoever_is_on_call() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    for n in range(2):
        harness.submit(f"r{n}", session="s")
    node = harness.job("boot-1").node
    other = {"node-a": "node-b", "node-b": "node-a"}[node]
    logged = [effect.text for effect in harness.offer(a_node(other)) if isinstance(effect, Log)]
    assert logged == [f"{node}: the node left its pool; 2 jobs back to pending"]
    assert [effect for effect in harness.offer() if isinstance(effect, Log)] != []
    assert [effect for effect in harness.offer() if isinstance(effect, Log)] == []


def test_jobs_that_have_the_same_client_languages_session_and_tenant_share_their_strings() -> None:
    harness = DispatchHarness()
    for n in range(2):
        session, tenant, client, language = ("".join(name) for name in ("session", "tenant", "client", "de"))
        changes = {"session": session, "tenant": tenant, "src": language, "tgt": language}
        harness.submit(f"r{n}", client=client, **changes)
    one, other = harness.brain.jobs.values()
    assert one.client_id is other.client_id
    for name in ("src", "tgt", "session", "tenant"):
        assert getattr(one.spec, name) is getattr(other.spec, name)


def test_attempts_that_no_node_has_confirmed_are_written_down_one_after_the_other() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    job = harness.job(harness.submit())
    first = job.node
    harness.wait(2_020)
    second = job.node
    harness.wait(2_020)
    assert list(job.fenced) == [Fenced(1, first, 1), Fenced(2, second, 1)]
    harness.report(stopped(job.job_id, 1), node=first)
    assert list(job.fenced) == [Fenced(2, second, 1)]


def test_speech_that_another_agent_claims_is_dropped_there_unless_its_attempt_is_the_one_awaited() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job), finished(job, speech_bytes=640))
    harness.offer(a_node("node-a"), a_node("node-b"))
    assert orders(harness.report(finished(job, 1, speech_bytes=640), node="node-b")) == []
    dropped = orders(harness.report(finished(job, 2, speech_bytes=640), node="node-b"))
    assert dropped == [DropSpeech(job_id=job, attempt=2)]


def test_a_job_whose_time_is_up_when_a_node_becomes_free_again_was_behind_others() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=50))
    harness.offer(a_node("node-a", slots=1))
    harness.report(refused(harness.submit("r1", deadline_ms=1_000)))
    late = harness.submit("r2")
    harness.now_ms += 50
    error = only(told(harness.handle(Swept()), Delivered)).outcome.error
    says = "no node for en:en (asr) in 50 ms: others were first"
    assert (harness.status(late), error) == ("failed", Refusal(code=Code.NO_AVAILABLE_NODE, message=says))


def test_one_node_is_reserved_for_a_job_until_another_one_is_or_it_is_given_up() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b"))
    one, other = (harness.brain.node_states[name] for name in ("node-a", "node-b"))
    reservations = Reservations()
    reserved = []
    for job, node_state in (("j1", one), ("j1", other), ("j2", other), ("j1", None), ("j3", None), ("j2", None)):
        reservations.reserve(job, node_state)
        reserved.append((one.reserved_for, other.reserved_for, len(reservations)))
    assert reserved == [("j1", "", 1), ("", "j1", 1), ("", "j2", 2), ("", "j2", 1), ("", "j2", 1), ("", "", 0)]


# --- records ------------------------------------------------------------------------------------------------------


def saved(effects: object) -> dict[str, bytes]:
    return {
        effect.change.job_id: effect.change.record
        for effect in effects  # type: ignore[attr-defined]  # the effects of a step
        if isinstance(effect, Save) and isinstance(effect.change, SaveJob)
    }


def test_the_record_of_an_utterance_says_what_its_session_waits_for() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    harness.run(harness.submit("r0", session="s"))
    first, other = harness.submit("r1", session="s"), harness.submit("r2")
    harness.handle(StoreWasEmptied())
    assert [harness.job(job).session_next_index for job in ("boot-1", first, other)] == [1, 1, 0]


def test_a_clean_up_tells_the_bytes_of_the_records_it_removes_also_after_a_restart() -> None:
    for is_restarted in (False, True):
        harness = SavingHarness()
        harness.offer(a_node("node-a"))
        jobs = [harness.submit(f"r{n}") for n in range(2)]
        for job in jobs:
            harness.run(job)
        n_bytes = sum(len(to_record(harness.job(job)).record) for job in jobs)
        if is_restarted:
            harness.crash()
        cleaned = harness.clean_up(0)
        assert (cleaned.jobs, cleaned.record_bytes, cleaned.kept) == (2, n_bytes, 0)
        assert harness.brain.sizes()["record_bytes"] == 0


def test_a_job_that_is_saved_and_forgotten_in_one_step_is_only_forgotten() -> None:
    harness = DispatchHarness()
    harness.submit("r1")
    effects = harness.handle(SubmitsWithdrawn("c1", ("r1",)))
    assert [effect.change for effect in effects if isinstance(effect, Save)] == [ForgetJob(job_id="boot-1")]


def test_jobs_are_saved_before_anything_is_told_or_forgotten() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    effects = harness.send(Submit(spec=a_spec("r1")), Submit(spec=a_spec("r2")))
    assert [type(effect).__name__ for effect in effects] == [
        "Save",
        "Save",
        "AnswerClient",
        "NotifyClient",
        "NotifyClient",
    ]
    assert set(saved(effects)) == {"boot-1", "boot-2"}


# --- restart ------------------------------------------------------------------------------------------------------


def a_saved_job(job_id: str, number: int, created_at_ms: int, **changes: Any) -> Job:
    known: dict[str, Any] = {"client_id": "c1", "spec": a_spec(f"of {job_id}"), "utterance_index": None}
    known |= {"deadline_at_ms": 2_000_000}
    return Job(job_id=job_id, number=number, created_at_ms=created_at_ms, **(known | changes))


def test_jobs_are_taken_over_in_the_order_of_their_arrival_and_new_ones_come_after_them() -> None:
    harness = DispatchHarness()
    jobs = [a_saved_job("c", 1, 999_000), a_saved_job("b", 2, 998_000), a_saved_job("a", 1, 998_000)]
    harness.brain.restore(jobs, harness.now_ms)
    assert {job: harness.job(job).number for job in "abc"} == {"a": 1, "b": 2, "c": 3}
    newest = harness.submit("new", deadline_ms=1_000_000)
    assert (newest, harness.job(newest).number) == ("boot-4", 4)
    assert [job for job, *_ in where(harness.offer(a_node("node-a", slots=4)))] == ["a", "b", "c", "boot-4"]


def test_ended_jobs_that_were_taken_over_are_forgotten_in_the_order_in_which_they_ended() -> None:
    harness = DispatchHarness()
    over: dict[str, Any] = {"status": JobStatus.COMPLETED, "is_delivered": True, "outcome": Outcome(status="completed")}
    jobs = [a_saved_job("a", 1, 0, ended_at_ms=900_000, **over), a_saved_job("b", 2, 0, ended_at_ms=800_000, **over)]
    harness.brain.restore(jobs, harness.now_ms)
    assert (harness.clean_up(200_000).jobs, set(harness.brain.jobs)) == (1, {"a"})
    harness.now_ms += 99_999
    assert harness.clean_up(200_000).jobs == 0
    harness.now_ms += 1
    effects = harness.handle(CleanupDue(200_000))
    assert [effect.change for effect in effects if isinstance(effect, Save)] == [ForgetJob(job_id="a")]


def test_a_result_that_was_not_delivered_before_a_restart_is_held_or_delivered_when_the_client_is_there() -> None:
    harness = DispatchHarness()
    over: dict[str, Any] = {"status": JobStatus.COMPLETED, "outcome": Outcome(status="completed")}
    jobs = [
        a_saved_job("first", 1, 0, spec=a_spec("r0", session="s"), utterance_index=0),
        a_saved_job("second", 2, 0, spec=a_spec("r1", session="s"), utterance_index=1, **over),
        a_saved_job("other", 3, 0, spec=a_spec("r2", session="t"), utterance_index=0, **over),
    ]
    effects = harness.brain.restore(jobs, harness.now_ms)
    assert [(event.job_id, event.is_late) for event in told(effects, Delivered)] == [("other", False)]
    assert [harness.job(job).is_delivered for job in ("second", "other")] == [False, True]
    harness.offer(a_node("node-a"))
    effects = harness.run("first")
    assert [event.job_id for event in told(effects, Delivered)] == ["first", "second"]


# --- what the brain knows of itself -------------------------------------------------------------------------------


def test_the_rate_of_ended_jobs_and_the_leased_slots_are_known() -> None:
    harness = DispatchHarness(DispatchRules())
    harness.offer(a_node("node-a", slots=3), a_node("node-b", slots=2))
    assert (harness.brain.n_leased, harness.brain.ended_per_s, harness.brain.is_draining) == (5, 0.0, False)
    harness.wait(1_000)
    for n in range(10):
        job = harness.submit(f"r{n}")
        harness.run(job, node=harness.job(job).node)
    harness.wait(1_000)
    assert harness.brain.ended_per_s == 2.0


def test_a_job_that_is_told_again_has_the_attempt_it_has_now() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", incarnation=3))
    job = harness.submit("r1")
    harness.send(PushFailed(job_id=job, attempt=1, why="no way"))
    harness.wait(1_000)
    assert told(harness.send(Submit(spec=a_spec("r1"))), Assigned) == [
        Assigned(job_id=job, attempt=2, node="node-a", incarnation=3, agent="agent:node-a")
    ]
