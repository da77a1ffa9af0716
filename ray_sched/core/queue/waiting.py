"""Waiting jobs, and which is next: by priority, then fair share, then deadline, then arrival (see ``fair_shares``).

Jobs with equal demands share a queue, so that a demand nobody can serve costs the others nothing. A queue has flows,
and each flow its jobs. Of a session only the earliest waiting utterance, its head, is in a queue; the next one is
enqueued when the head has left. Every operation costs logarithmic time in what waits.
"""

from collections.abc import Callable
from functools import partial

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.queue.fair_shares import LEAST_MS, FairShares
from ray_sched.core.queue.priority_queue import PriorityQueue

JobKey = tuple[int, int, int]
"""Sort key within a flow: negative priority, deadline, arrival."""
FlowKey = tuple[int, int, int, int]
"""Sort key within a demand, and so within a tenant: negative priority, quanta of the flow, deadline, arrival."""
QueueKey = tuple[int, int, int, int, int]
"""Sort key among all: negative priority, quanta of the tenant, quanta of the flow, deadline, arrival."""


def job_key(job: Job) -> JobKey:
    """The sort key of a job within its flow."""
    return (-job.spec.priority, job.deadline_at_ms, job.number)


class DemandQueue:
    """The jobs of one demand, by flow."""

    def __init__(self, job_key_of: Callable[[str], JobKey | None], quanta_of: Callable[[SessionKey], int]) -> None:
        self._job_key_of = job_key_of
        self._quanta_of = quanta_of
        self._jobs: dict[SessionKey, PriorityQueue[JobKey, str]] = {}
        self._flows: PriorityQueue[FlowKey, SessionKey] = PriorityQueue(self._flow_key)

    def _flow_key(self, flow: SessionKey) -> FlowKey | None:
        head = self._jobs[flow].head()
        if head is None:
            del self._jobs[flow]
            return None
        priority, deadline_at_ms, number = head[0]
        return (priority, self._quanta_of(flow), deadline_at_ms, number)

    def enqueue(self, flow: SessionKey, job_id: str) -> bool:
        """Add a job. False: the key of the queue's head is not smaller by that."""
        if flow not in self._jobs:
            self._jobs[flow] = PriorityQueue(self._job_key_of)
        self._jobs[flow].enqueue(job_id)
        return self._flows.enqueue(flow)

    def head_key(self) -> FlowKey | None:
        """The key of the next job, None if the queue is empty."""
        found = self._flows.head()
        return found[0] if found else None

    def head(self) -> str | None:
        """The id of the next job, None if the queue is empty."""
        found = self._flows.head()
        return self._jobs[found[1]].last_head() if found else None

    def remove(self, flow: SessionKey, job_id: str) -> None:
        """Remove a job."""
        if flow in self._jobs:
            self._jobs[flow].remove(job_id)


Backlog = tuple[int, int, int]
"""How many jobs wait: all of them, those of one tenant, and those of one of its flows."""


class Waiting:
    """The jobs that wait for a slot. Calls ``notice`` with each demand whose queue key may have become smaller.

    A job that begins to wait while no other does is the lone one: it is in no queue, and costs next to nothing, until
    :meth:`settle` puts it into its own because it has found no slot, or because others have to be compared with it.
    """

    def __init__(self, notice: Callable[[Demand], None] = lambda _demand: None) -> None:
        self.shares = FairShares()
        self.lone: Job | None = None
        """The only job that waits, as long as it is in no queue."""
        self._notice = notice
        self._jobs: dict[str, Job] = {}
        self._queues: dict[Demand, DemandQueue] = {}
        self._sessions: dict[SessionKey, PriorityQueue[tuple[int, int], str]] = {}
        self._enqueued: dict[str, Job] = {}
        """Jobs in the queue of their demand: all but the skipped ones, those of clients that are paused, and those
        behind the head of their session."""
        self._head_of: dict[SessionKey, str] = {}
        self._of_client: dict[str, dict[str, None]] = {}
        self._paused: set[str] = set()
        """Clients whose jobs are in no queue."""

    def __len__(self) -> int:
        return len(self._jobs) + (self.lone is not None)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs or (self.lone is not None and self.lone.job_id == job_id)

    def add(self, job: Job) -> None:
        """A job begins to wait (again)."""
        if self.lone is None and not self._jobs and job.client_id not in self._paused:
            self.lone = job
            return
        self.settle()
        self._add(job)

    def settle(self) -> None:
        """Put the lone job, if there is one, into the queue of its demand."""
        if self.lone is not None:
            job, self.lone = self.lone, None
            self._add(job)

    def _add(self, job: Job) -> None:
        flow = job.session_key
        self._jobs[job.job_id] = job
        self._of_client.setdefault(job.client_id, {})[job.job_id] = None
        self.shares.begin(job.spec.tenant, flow)
        if not job.spec.session:
            self._enqueue(job)
            return
        if flow not in self._sessions:
            self._sessions[flow] = PriorityQueue(self._place_of)
        self._sessions[flow].enqueue(job.job_id)
        self._enqueue_head(flow)

    def remove(self, job: Job) -> None:
        """A job waits no more: assigned, cancelled or out of time. Nothing happens if it did not wait."""
        if job is self.lone:
            self.lone = None
            return
        if self._jobs.pop(job.job_id, None) is None:
            return
        of_client = self._of_client[job.client_id]
        del of_client[job.job_id]
        if not of_client:
            del self._of_client[job.client_id]
        self.skip(job)
        flow = job.session_key
        self.shares.end(job.spec.tenant, flow)
        if job.spec.session:
            self._sessions[flow].remove(job.job_id)
            self._enqueue_head(flow)

    def charge(self, job: Job, audio_ms: int, *, is_served: bool) -> None:
        """Charge the flow of a job and its tenant for so much audio, see :meth:`Shares.charge`."""
        self.shares.charge(job.spec.tenant, job.session_key, audio_ms, is_served=is_served)

    def backlog(self, tenant: str, flow: SessionKey) -> Backlog:
        """How many jobs wait, of all and of these."""
        self.settle()
        return (len(self._jobs), *self.shares.waiting(tenant, flow))

    def skip(self, job: Job) -> None:
        """Let those behind a job pass, but not those of its own session; until it is readmitted."""
        if self._enqueued.pop(job.job_id, None) is not None:
            queue = self._queues.get(job.demand)
            if queue:
                queue.remove(job.session_key, job.job_id)

    def readmit(self, job: Job) -> None:
        """Put a job that was skipped back to where it was."""
        self._enqueue(job)

    def pause(self, client_id: str) -> None:
        """Let others pass all that a client has waiting, now and later, until it is resumed."""
        if client_id not in self._paused:
            for job in self.of_client(client_id):
                self.skip(job)
            self._paused.add(client_id)

    def resume(self, client_id: str) -> list[Job]:
        """What a client has waiting is where it was. Returns it, in no order; nothing if it was not paused."""
        if client_id not in self._paused:
            return []
        self._paused.discard(client_id)
        jobs = self.of_client(client_id)
        for job in jobs:
            if not job.spec.session or self._head_of[job.session_key] == job.job_id:
                self._enqueue(job)
        return jobs

    def is_paused(self, client_id: str) -> bool:
        """Whether others pass what this client has waiting."""
        return client_id in self._paused

    def head(self, demand: Demand) -> Job | None:
        """The next job of a demand, None if its queue is empty. The lone job is in none."""
        queue = self._queues.get(demand)
        job_id = queue.head() if queue else None
        return self._jobs[job_id] if job_id else None

    def queue_key(self, demand: Demand) -> QueueKey | None:
        """The key of the next job of a demand, None if its queue is empty."""
        queue = self._queues.get(demand)
        if queue is None:
            return None
        head_key = queue.head_key()
        if head_key is None:
            del self._queues[demand]
            return None
        priority, flow_quanta, deadline_at_ms, number = head_key
        return (priority, self.shares.tenant_quanta(demand.tenant), flow_quanta, deadline_at_ms, number)

    def demands(self) -> list[Demand]:
        """The demands whose queue is not empty, in no order. The lone job is in none."""
        return [demand for demand in list(self._queues) if self.queue_key(demand)]

    def of_client(self, client_id: str) -> list[Job]:
        """A client's jobs that wait, in no order."""
        self.settle()
        return [self._jobs[job_id] for job_id in self._of_client.get(client_id, ())]

    def all(self) -> list[Job]:
        """Everything that waits, in no order."""
        self.settle()
        return list(self._jobs.values())

    def _enqueue(self, job: Job) -> None:
        if job.job_id in self._enqueued or job.client_id in self._paused:
            return
        self._enqueued[job.job_id] = job
        demand = job.demand
        queue = self._queues.get(demand)
        if queue is None:
            quanta_of = partial(self.shares.flow_quanta, job.spec.tenant)
            queue = self._queues[demand] = DemandQueue(self._job_key_of, quanta_of)
        if queue.enqueue(job.session_key, job.job_id):
            self._notice(demand)

    def _job_key_of(self, job_id: str) -> JobKey | None:
        job = self._enqueued.get(job_id)
        return job_key(job) if job else None

    def _place_of(self, job_id: str) -> tuple[int, int] | None:
        """The sort key of a job within its session."""
        job = self._jobs.get(job_id)
        return (job.utterance_index or 0, job.number) if job else None

    def _enqueue_head(self, flow: SessionKey) -> None:
        """Have the earliest waiting utterance of a session in its queue, and no other of the session."""
        found = self._sessions[flow].head()
        if found is None:
            del self._sessions[flow], self._head_of[flow]
            return
        head = found[1]
        before = self._head_of.get(flow)
        if before != head:
            if before in self._jobs:
                self.skip(self._jobs[before])
            self._head_of[flow] = head
        self._enqueue(self._jobs[head])


def cost_ms(job: Job) -> int:
    """What an assignment costs its flow until its audio is measured."""
    return max(job.audio_ms, LEAST_MS)
