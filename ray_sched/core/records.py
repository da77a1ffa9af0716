"""Records read back from the store: which can be taken up, and one sentence on those that cannot.

A record may have been written by another version, or by hand. One that cannot be read must not keep the others from
being taken up: it is left where it is, and somebody is told.
"""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from ray_sched.core.job import Job, JobStatus, from_record
from ray_sched.core.nodes.node import NodeRecord

RecordT = TypeVar("RecordT")
_MAX_WHY = 200


class ReadBack(NamedTuple, Generic[RecordT]):
    """What came of the records."""

    readable: list[RecordT]
    n_left_out: int
    why: str
    """Of the first one that was left out."""

    def sentence(self, what: str) -> str:
        """For the log."""
        return f"{self.n_left_out} records of {what} cannot be taken up and are left where they are: {self.why}"


def read_jobs(records: Iterable[bytes]) -> ReadBack[Job]:
    """The jobs that these records describe, each once."""
    jobs: dict[str, Job] = {}
    awaited: set[tuple[tuple[str, str], int | None]] = set()
    left_out: list[str] = []
    for record in records:
        try:
            job = from_record(record)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            left_out.append(str(error))
            continue
        place = (job.session_key, job.utterance_index)
        is_awaited = bool(job.spec.session) and not job.is_delivered
        if flaw := _flaw(job):
            left_out.append(f"{job.job_id[:80]!r}: {flaw}")
        elif job.job_id in jobs or (is_awaited and place in awaited):
            left_out.append(f"{job.job_id[:80]!r} is there twice")
        else:
            jobs[job.job_id] = job
            awaited.update({place} if is_awaited else ())
    return ReadBack(list(jobs.values()), len(left_out), (left_out or [""])[0][:_MAX_WHY])


def read_nodes(records: Iterable[bytes]) -> ReadBack[NodeRecord]:
    """The nodes that these records describe."""
    nodes: list[NodeRecord] = []
    left_out: list[str] = []
    for record in records:
        try:
            nodes.append(msgspec.json.decode(record, type=NodeRecord))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            left_out.append(str(error))
    return ReadBack(nodes, len(left_out), (left_out or [""])[0][:_MAX_WHY])


def _flaw(job: Job) -> str | None:
    """What cannot be true of a job that the Dispatcher wrote, though each field by itself may."""
    is_on_a_node = job.status in {JobStatus.ASSIGNED, JobStatus.PROCESSING}
    if job.is_terminal != (job.outcome is not None):
        return "a job has an outcome when it has ended, and then only"
    if job.speech is not None and job.status is not JobStatus.PROCESSING:
        return f"a job that is {job.status} has no speech to be fetched"
    if is_on_a_node and not (job.node and job.agent):
        return f"a job that is {job.status} is on a node"
    if bool(job.spec.session) != (job.utterance_index is not None):
        return "a job has an utterance index when it is in a session, and then only"
    if job.is_delivered and not job.is_terminal:
        return "a job is delivered after it has ended"
    return None
