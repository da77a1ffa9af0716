"""Why the newest jobs went where they did: who was compared, and with what scores, at that moment."""

from collections.abc import Iterable

from msgspec import Struct

from ray_sched.core.placement.policy import Considered

MOST = 2_000


class Decision(Struct, frozen=True):
    """One assignment."""

    job_id: str
    attempt: int
    at_ms: int
    node: str
    considered: Considered


class Decisions:
    """The newest one of each job, of so many jobs."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._of_job: dict[str, Decision] = {}

    def add(self, decisions: Iterable[Decision]) -> None:
        """These have been decided, in this order."""
        for decision in decisions:
            self._of_job.pop(decision.job_id, None)
            self._of_job[decision.job_id] = decision
            if len(self._of_job) > self._most:
                del self._of_job[next(iter(self._of_job))]

    def of(self, job_id: str) -> Decision | None:
        """The newest decision about a job, None if it is forgotten or there was none."""
        return self._of_job.get(job_id)

    def __len__(self) -> int:
        return len(self._of_job)
