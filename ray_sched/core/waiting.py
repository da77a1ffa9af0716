"""Waiting jobs: by priority, then deadline, then arrival; a session never overtakes itself.

Jobs with equal demands share a queue, so that a demand nobody can serve costs the others nothing. Of a session only
the earliest waiting utterance stands in a queue; the next one steps up when it has left. Every operation costs
logarithmic time in what waits.
"""

import heapq
from collections.abc import Iterator

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job

Order = tuple[int, int, int]
"""Sort key: negative priority, deadline, arrival."""


def order_of(job: Job) -> Order:
    """Earlier is sooner."""
    return (-job.spec.priority, job.deadline_at_ms, job.number)


class Waiting:
    """The jobs that wait for a slot."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._queues: dict[Demand, list[tuple[Order, str]]] = {}
        self._sessions: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._session_count: dict[tuple[str, str], int] = {}
        self._stander: dict[tuple[str, str], str] = {}
        self._standing: set[str] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def in_session(self, session_key: tuple[str, str]) -> int:
        """How many jobs of the session wait."""
        return self._session_count.get(session_key, 0)

    def add(self, job: Job) -> None:
        """A job begins to wait (again)."""
        self._jobs[job.job_id] = job
        if not job.spec.session:
            self._stand(job)
            return
        key = job.session_key
        line = self._sessions.setdefault(key, [])
        heapq.heappush(line, (job.utterance_index or 0, job.job_id))
        self._session_count[key] = self._session_count.get(key, 0) + 1
        self._step_up(key)

    def remove(self, job: Job) -> None:
        """A job waits no more: assigned, cancelled or out of time."""
        if self._jobs.pop(job.job_id, None) is None:
            return
        self._standing.discard(job.job_id)
        if job.spec.session:
            key = job.session_key
            self._session_count[key] -= 1
            if not self._session_count[key]:
                del self._session_count[key], self._sessions[key], self._stander[key]
                return
            self._step_up(key)

    def heads(self) -> list[tuple[Order, Demand]]:
        """For each demand with somebody in its queue: the order of its next job. In no order."""
        found = ((self.head_order(demand), demand) for demand in list(self._queues))
        return [(order, demand) for order, demand in found if order is not None]

    def head(self, demand: Demand) -> Job | None:
        """The next job of a demand."""
        return self._jobs[self._queues[demand][0][1]] if self.head_order(demand) is not None else None

    def in_order(self, demand: Demand) -> Iterator[Job]:
        """The jobs standing in the queue of a demand, next one first. Costs the sorting of the queue."""
        for _, job_id in sorted(set(self._queues.get(demand, []))):
            if job_id in self._standing:
                yield self._jobs[job_id]

    def jobs(self) -> Iterator[Job]:
        """All that wait, in no order."""
        return iter(self._jobs.values())

    def head_order(self, demand: Demand) -> Order | None:
        """The order of the next job of a demand, or None if nobody stands in its queue."""
        queue = self._queues.get(demand)
        while queue and queue[0][1] not in self._standing:
            heapq.heappop(queue)
        if not queue:
            self._queues.pop(demand, None)
            return None
        return queue[0][0]

    def _stand(self, job: Job) -> None:
        if job.job_id in self._standing:
            return
        self._standing.add(job.job_id)
        heapq.heappush(self._queues.setdefault(job.demand, []), (order_of(job), job.job_id))

    def _step_up(self, key: tuple[str, str]) -> None:
        """Let the earliest waiting utterance of a session stand in its queue, and nobody else of the session."""
        line = self._sessions[key]
        while line[0][1] not in self._jobs:
            heapq.heappop(line)
        first = line[0][1]
        if self._stander.get(key) != first:
            self._standing.discard(self._stander.get(key, ""))
            self._stander[key] = first
        self._stand(self._jobs[first])
