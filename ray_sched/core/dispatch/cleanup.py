"""Clean-up: which finished jobs are forgotten.

Jobs are kept in the order in which they ended, so a clean-up looks at those it removes and at one more.
"""

from collections import deque


class EndedJobs:
    """Finished jobs, oldest first."""

    def __init__(self) -> None:
        self._ended: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, job_id: str, ended_at_ms: int) -> None:
        """A job has ended, not before any job added earlier."""
        self._ended.append((ended_at_ms, job_id))

    def pop_older(self, max_age_ms: int, now_ms: int) -> list[str]:
        """Remove and return the jobs that ended at least ``max_age_ms`` ago."""
        old = []
        while self._ended and self._ended[0][0] <= now_ms - max_age_ms:
            old.append(self._ended.popleft()[1])
        return old
