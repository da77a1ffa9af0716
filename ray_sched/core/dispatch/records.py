"""The records of jobs, read back from the store: which can be taken up, each job once."""

from collections.abc import Callable, Iterable

from ray_sched.core.job import Job, JobStatus, SessionKey, from_record
from ray_sched.core.records import ReadBack, read_back


def read_jobs(records: Iterable[bytes]) -> ReadBack[Job]:
    """The jobs that these records describe, each once, and each place of a session that awaits its result once."""
    return read_back(records, from_record, _flaw_finder())


def _flaw_finder() -> Callable[[Job], str | None]:
    """Judges one job after the other: what is wrong with each, by itself or beside those before it."""
    known: set[str] = set()
    awaited: set[tuple[SessionKey, int | None]] = set()

    def flaw(job: Job) -> str | None:
        place = (job.session_key, job.utterance_index)
        is_awaited = bool(job.spec.session) and not job.is_delivered
        if contradiction := _contradiction(job):
            return f"{job.job_id[:80]!r}: {contradiction}"
        if job.job_id in known or (is_awaited and place in awaited):
            return f"{job.job_id[:80]!r} is there twice"
        known.add(job.job_id)
        if is_awaited:
            awaited.add(place)
        return None

    return flaw


def _contradiction(job: Job) -> str | None:
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
