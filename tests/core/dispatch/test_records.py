"""Records of jobs, read back: what cannot be true is left out, each with its sentence, and all others are taken up."""

from typing import Any

import pytest

from ray_sched.core.dispatch.records import read_jobs
from ray_sched.core.job import Job, JobStatus, to_record
from ray_sched.core.messages.client_dispatcher import Outcome
from tests.support.builders import a_node, a_spec
from tests.support.saving_harness import SavingHarness

COMPLETED = Outcome(status="completed", text="hello")


def a_job(job_id: str = "j1", *, session: str = "", **changes: Any) -> Job:
    """A job that waits."""
    facts: dict[str, Any] = {
        "job_id": job_id,
        "client_id": "c1",
        "spec": a_spec(f"of {job_id}", session=session),
        "utterance_index": 0 if session else None,
        "created_at_ms": 1_000,
        "number": 1,
    }
    return Job(**(facts | changes))


def record_of(job: Job) -> bytes:
    return to_record(job).record


SOUND = {
    "waits": a_job(),
    "waits in a session": a_job(session="s"),
    "assigned": a_job(status=JobStatus.ASSIGNED, node="node-a", agent="agent:node-a"),
    "runs": a_job(status=JobStatus.PROCESSING, node="node-a", agent="agent:node-a"),
    "its speech waits": a_job(status=JobStatus.PROCESSING, node="node-a", agent="agent:node-a", speech=COMPLETED),
    "has ended, not delivered": a_job(status=JobStatus.COMPLETED, outcome=COMPLETED, session="s"),
    "has ended, delivered": a_job(status=JobStatus.COMPLETED, outcome=COMPLETED, is_delivered=True),
}


@pytest.mark.parametrize("what", SOUND)
def test_what_the_dispatcher_wrote_is_taken_up_as_it_was(what: str) -> None:
    read = read_jobs([record_of(SOUND[what])])
    assert (read.readable, read.n_left_out, read.why) == ([SOUND[what]], 0, "")


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (a_job(status=JobStatus.COMPLETED), "a job has an outcome when it has ended, and then only"),
        (a_job(outcome=COMPLETED), "a job has an outcome when it has ended, and then only"),
        (
            a_job(status=JobStatus.ASSIGNED, node="node-a", agent="agent:node-a", speech=COMPLETED),
            "a job that is assigned has no speech to be fetched",
        ),
        (a_job(status=JobStatus.ASSIGNED, node="node-a"), "a job that is assigned is on a node"),
        (a_job(status=JobStatus.PROCESSING, agent="agent:node-a"), "a job that is processing is on a node"),
        (
            a_job(session="s", utterance_index=None),
            "a job has an utterance index when it is in a session, and then only",
        ),
        (a_job(utterance_index=3), "a job has an utterance index when it is in a session, and then only"),
        (a_job(is_delivered=True), "a job is delivered after it has ended"),
    ],
)
def test_what_cannot_be_true_is_left_out_with_its_sentence(job: Job, why: str) -> None:
    read = read_jobs([record_of(job)])
    assert (read.readable, read.n_left_out, read.why) == ([], 1, f"'j1': {why}")


def test_a_record_that_cannot_be_read_keeps_no_other_from_being_taken_up() -> None:
    read = read_jobs([b"{", record_of(a_job("j1")), b"[" * 100_000, b'{"job_id": 3}', record_of(a_job("j2"))])
    assert [job.job_id for job in read.readable] == ["j1", "j2"]
    assert read.n_left_out == 3
    assert read.sentence("jobs") == (f"3 records of jobs cannot be taken up and are left where they are: {read.why}")
    assert read.why == "Input data was truncated", "of the first one"


def test_of_two_records_of_one_job_the_first_is_taken_up() -> None:
    first, second = a_job("j1", audio_ms=1_000), a_job("j1", audio_ms=2_000)
    read = read_jobs([record_of(first), record_of(second)])
    assert (read.readable, read.why) == ([first], "'j1' is there twice")


def test_one_place_of_a_session_awaits_one_result() -> None:
    read = read_jobs([record_of(a_job(name, session="s")) for name in ("j1", "j2")])
    assert ([job.job_id for job in read.readable], read.why) == (["j1"], "'j2' is there twice")


def test_other_places_sessions_and_clients_are_in_nobody_s_way() -> None:
    jobs = [
        a_job("j1", session="s"),
        a_job("j2", session="s", utterance_index=1),
        a_job("j3", session="other"),
        a_job("j4", session="s", client_id="c2"),
        a_job("j5"),
        a_job("j6"),
    ]
    assert read_jobs(map(record_of, jobs)).readable == jobs


def test_a_place_whose_result_was_delivered_awaits_nothing() -> None:
    done = a_job("j1", session="s", status=JobStatus.COMPLETED, outcome=COMPLETED, is_delivered=True)
    again = a_job("j2", session="s")
    assert read_jobs([record_of(done), record_of(again)]).readable == [done, again]
    assert read_jobs([record_of(again), record_of(done)]).readable == [again, done]


def test_a_flawed_record_takes_no_place() -> None:
    flawed, sound = a_job("j1", session="s", is_delivered=True), a_job("j1", session="s")
    assert read_jobs([record_of(flawed), record_of(sound)]).readable == [sound]


def test_a_sentence_of_a_record_is_short_however_long_its_id_is() -> None:
    read = read_jobs([record_of(a_job("j" * 250, is_delivered=True))])
    assert len(read.why) <= 200
    assert read.why.startswith("'" + "j" * 80 + "': a job")


def test_a_session_that_has_come_to_the_last_index_there_is_is_taken_up() -> None:
    harness = SavingHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(session="s", utterance_index=2**53)
    harness.run(job)
    harness.wait(5_000)
    assert harness.brain.sessions["c1", "s"].next_index == 2**53 + 1
    read = read_jobs(harness.disk.records.values())
    assert (read.n_left_out, [one.job_id for one in read.readable]) == (0, [job])
