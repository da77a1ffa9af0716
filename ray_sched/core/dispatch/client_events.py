"""What a client is told of its job, made of the job's record."""

from ray_sched.core.job import Job
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered, Outcome, SpeechReady


def assigned(job: Job) -> Assigned:
    """Where to push the audio."""
    return Assigned(job_id=job.job_id, attempt=job.attempt, node=job.node, incarnation=job.incarnation, agent=job.agent)


def speech_ready(job: Job, outcome: Outcome) -> SpeechReady:
    """Where to fetch the speech."""
    return SpeechReady(
        job_id=job.job_id,
        attempt=job.attempt,
        agent=job.agent,
        n_bytes=outcome.speech_bytes,
        rate_hz=outcome.speech_rate_hz,
    )


def delivered(job: Job) -> Delivered:
    """The delivery of an ended job. Only called for those."""
    if job.outcome is None:
        raise ValueError(f"job {job.job_id} has not ended")
    return Delivered(
        job_id=job.job_id, session=job.spec.session, utterance_index=job.utterance_index, outcome=job.outcome
    )
