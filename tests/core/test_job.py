"""The job: its table, its fence, its record."""

import msgspec
import pytest

from ray_sched.core.job import (
    JOB_TABLE,
    MAX_STORY_LINES,
    Job,
    JobEvent,
    JobStatus,
    JobTableError,
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


@pytest.mark.parametrize("event", JobEvent)
@pytest.mark.parametrize("status", JobStatus)
def test_an_event_moves_a_job_by_the_table_or_changes_nothing(status: JobStatus, event: JobEvent) -> None:
    job = a_job(status)
    if event in JOB_TABLE[status]:
        job.move(event)
        assert job.status is JOB_TABLE[status][event]
    else:
        with pytest.raises(JobTableError, match="j1"):
            job.move(event)
        assert job == a_job(status)


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
