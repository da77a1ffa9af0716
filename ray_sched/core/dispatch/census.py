"""How many jobs there are in each status, and how much audio they have: known at any moment without a look at them."""

from collections import Counter

from ray_sched.core.job import Job, JobEvent, JobStatus


class Census:
    """Jobs and their audio by status. A job that leaves a status takes as much audio with it as it has brought."""

    def __init__(self, assumed_audio_ms: int) -> None:
        """``assumed_audio_ms``: what audio counts whose duration is not known."""
        self.jobs: Counter[JobStatus] = Counter()
        self.audio_ms: Counter[JobStatus] = Counter()
        self._assumed_ms = assumed_audio_ms

    def expected_ms(self, job: Job) -> int:
        """Duration of a job's audio as far as it is known."""
        return job.audio_ms or self._assumed_ms

    def enter(self, job: Job) -> None:
        """A job is known from now on."""
        self._count(job, 1)

    def leave(self, job: Job) -> None:
        """A job is known no more."""
        self._count(job, -1)

    def move(self, job: Job, event: JobEvent) -> None:
        """Change the job's status by its table. Raises JobTableError, and nothing has changed."""
        before = job.status
        job.move(event)
        audio_ms = job.audio_ms or self._assumed_ms
        self.jobs[before] -= 1
        self.audio_ms[before] -= audio_ms
        self.jobs[job.status] += 1
        self.audio_ms[job.status] += audio_ms

    def measure(self, job: Job, audio_ms: int) -> None:
        """The audio of a job has been measured."""
        self.audio_ms[job.status] -= self.expected_ms(job)
        job.audio_ms = audio_ms
        self.audio_ms[job.status] += self.expected_ms(job)

    def _count(self, job: Job, n_jobs: int) -> None:
        self.jobs[job.status] += n_jobs
        self.audio_ms[job.status] += n_jobs * self.expected_ms(job)
