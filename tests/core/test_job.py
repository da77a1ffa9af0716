"""The job: its table, its fence, its record."""

import msgspec
import pytest

from ray_sched.core.job import (
    MAX_STORY_LINES,
    Job,
    JobEvent,
    JobStatus,
    JobTableError,
    StoryLine,
    from_record,
    is_current,
    to_record,
)
from tests.support.builders import a_spec


def a_job(status: JobStatus = JobStatus.PENDING, **changes: object) -> Job:
    facts: dict[str, object] = {
        "job_id": "j1",
        "client_id": "c1",
        "spec": a_spec(),
        "utterance_index": None,
        "created_at_ms": 1_000,
        "number": 1,
        "status": status,
    }
    return Job(**(facts | changes))  # type: ignore[arg-type]


ENDED = {JobStatus.COMPLETED, JobStatus.COMPLETED_NO_TEXT, JobStatus.FAILED, JobStatus.CANCELLED}


def moved(status: JobStatus, event: JobEvent) -> JobStatus | None:
    """The status after the event; None if the job refused it, in which case nothing of it has changed."""
    job = a_job(status)
    try:
        job.move(event)
    except JobTableError:
        assert job == a_job(status)
        return None
    return job.status


def test_what_is_refused_names_the_job() -> None:
    with pytest.raises(JobTableError, match="job j1 is failed and cannot accept"):
        a_job(JobStatus.FAILED).move(JobEvent.ACCEPT)


@pytest.mark.parametrize(
    ("events", "ends_as"),
    [
        ("assign accept finish", "completed"),
        ("assign accept finish_empty", "completed_no_text"),
        ("assign accept fail", "failed"),
        ("assign requeue assign accept requeue assign accept finish", "completed"),
        ("fail", "failed"),
        ("assign fail", "failed"),
        ("cancel", "cancelled"),
        ("assign cancel", "cancelled"),
        ("assign accept cancel", "cancelled"),
        ("assign requeue cancel", "cancelled"),
    ],
)
def test_these_are_the_lives_a_job_can_have(events: str, ends_as: str) -> None:
    job = a_job()
    for event in events.split():
        assert not job.is_terminal
        job.move(JobEvent(event))
    assert (job.status, job.is_terminal) == (JobStatus(ends_as), True)


@pytest.mark.parametrize("event", JobEvent)
@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_ended_job_never_changes_again(status: JobStatus, event: JobEvent) -> None:
    assert moved(status, event) is None


@pytest.mark.parametrize("event", [JobEvent.FINISH, JobEvent.FINISH_EMPTY])
@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.PROCESSING}))
def test_only_a_job_that_runs_can_finish(status: JobStatus, event: JobEvent) -> None:
    assert moved(status, event) is None


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.PENDING}))
def test_a_job_is_never_given_to_two_nodes_at_once(status: JobStatus) -> None:
    assert moved(status, JobEvent.ASSIGN) is None


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.ASSIGNED}))
def test_no_node_accepts_what_was_not_assigned_or_what_it_has_accepted(status: JobStatus) -> None:
    assert moved(status, JobEvent.ACCEPT) is None


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.ASSIGNED, JobStatus.PROCESSING}))
def test_only_a_job_that_is_with_a_node_goes_back_to_the_queue(status: JobStatus) -> None:
    assert moved(status, JobEvent.REQUEUE) is None


@pytest.mark.parametrize("event", [JobEvent.FAIL, JobEvent.CANCEL])
@pytest.mark.parametrize("status", sorted(set(JobStatus) - ENDED))
def test_whatever_has_not_ended_can_be_ended_by_failure_and_by_its_submitter(
    status: JobStatus, event: JobEvent
) -> None:
    assert moved(status, event) in ENDED


@pytest.mark.parametrize("status", JobStatus)
def test_only_assigned_and_processing_jobs_listen_to_their_node(status: JobStatus) -> None:
    job = a_job(status, attempt=2, node="node-a", incarnation=3)
    assert is_current(job, 2, "node-a", 3) is (status in {JobStatus.ASSIGNED, JobStatus.PROCESSING})


@pytest.mark.parametrize(("attempt", "node", "incarnation"), [(1, "node-a", 3), (2, "node-b", 3), (2, "node-a", 2)])
def test_another_attempt_node_or_incarnation_is_fenced(attempt: int, node: str, incarnation: int) -> None:
    job = a_job(JobStatus.PROCESSING, attempt=2, node="node-a", incarnation=3)
    assert not is_current(job, attempt, node, incarnation)
    assert not is_current(None, attempt, node, incarnation)


def test_a_record_leaves_nothing_out_and_reads_back_the_same() -> None:
    job = a_job()
    job.record(1_000, "submitted")
    saved = to_record(job)
    assert set(msgspec.json.decode(saved.record)) == set(Job.__struct_encode_fields__)
    assert from_record(saved.record) == job
    assert saved.is_open
    assert not to_record(a_job(JobStatus.FAILED)).is_open


def test_a_story_keeps_its_first_and_its_newest_lines() -> None:
    job = a_job()
    for number in range(1_000):
        job.record(number, f"line {number}")
    assert len(job.story) == MAX_STORY_LINES
    assert (job.story[0].what, job.story[-1].what) == ("line 0", "line 999")


def test_a_story_line_says_when_and_in_which_attempt() -> None:
    job = a_job(attempt=2)
    job.record(1_500, "assigned to node-a")
    assert job.story == [StoryLine(1_500, 2, "assigned to node-a")]


def test_a_session_belongs_to_its_client() -> None:
    assert a_job(spec=a_spec(session="s")).session_key == ("c1", "s")
    assert a_job(client_id="c2").session_key == ("c2", "")
