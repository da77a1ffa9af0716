"""Waiting jobs, and who is next: by priority, then fair share, then deadline, then arrival (see ``fairness``).

Jobs with equal demands share a queue, so that a demand nobody can serve costs the others nothing. In a queue stand
flows, and in each flow its jobs. Of a session only the earliest waiting utterance stands in a queue; the next one
steps up when it has left. Every operation costs logarithmic time in what waits.
"""

import heapq
from collections.abc import Callable, Iterator
from functools import partial

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job
from ray_sched.core.queue.fair_shares import LEAST_MS, QUANTUM_MS, FairShares, Flow
from ray_sched.core.queue.priority_queue import PriorityQueue

Order = tuple[int, int, int]
"""Sort key within a flow: negative priority, deadline, arrival."""
FlowTurn = tuple[int, int, int, int]
"""Sort key within a demand, and so within a tenant: negative priority, turn of the flow, deadline, arrival."""
Turn = tuple[int, int, int, int, int]
"""Sort key among all: negative priority, turn of the tenant, turn of the flow, deadline, arrival."""


def order_of(job: Job) -> Order:
    """Earlier is sooner."""
    return (-job.spec.priority, job.deadline_at_ms, job.number)


def flow_of(job: Job) -> Flow:
    """Jobs of a flow share what is given to them."""
    return job.session_key


class Queue:
    """The jobs of one demand, by flow."""

    def __init__(self, order_of_id: Callable[[str], Order | None], turn_of: Callable[[Flow], int]) -> None:
        self._order_of_id = order_of_id
        self._turn_of = turn_of
        self._jobs: dict[Flow, PriorityQueue[Order, str]] = {}
        self._flows: PriorityQueue[FlowTurn, Flow] = PriorityQueue(self._turn)

    def _turn(self, flow: Flow) -> FlowTurn | None:
        jobs = self._jobs[flow]
        first = jobs.first()
        if first is None:
            del self._jobs[flow]
            return None
        priority, deadline_at_ms, number = first[0]
        return (priority, self._turn_of(flow), deadline_at_ms, number)

    def stand(self, flow: Flow, job_id: str) -> bool:
        """A job joins. False: the turn of the next job is not sooner by that."""
        if flow not in self._jobs:
            self._jobs[flow] = PriorityQueue(self._order_of_id)
        self._jobs[flow].put(job_id)
        return self._flows.put(flow)

    def first(self) -> FlowTurn | None:
        """The turn of the next job."""
        found = self._flows.first()
        return found[0] if found else None

    def first_id(self) -> str | None:
        """The next job."""
        found = self._flows.first()
        return self._jobs[found[1]].front() if found else None

    def leave(self, flow: Flow, job_id: str) -> None:
        """A job is in it no more."""
        if flow in self._jobs:
            self._jobs[flow].drop(job_id)


class Waiting:
    """The jobs that wait for a slot. ``notice`` is told of each demand whose turn may be sooner than it was."""

    def __init__(self, notice: Callable[[Demand], None] = lambda _demand: None) -> None:
        self.shares = FairShares()
        self._notice = notice
        self._jobs: dict[str, Job] = {}
        self._queues: dict[Demand, Queue] = {}
        self._sessions: dict[Flow, PriorityQueue[tuple[int, int], str]] = {}
        self._standing: dict[str, Job] = {}
        self._stander: dict[Flow, str] = {}
        self._of_client: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    def add(self, job: Job) -> None:
        """A job begins to wait (again)."""
        flow = flow_of(job)
        self._jobs[job.job_id] = job
        self._of_client.setdefault(job.client_id, {})[job.job_id] = None
        self.shares.begin(job.spec.tenant, flow)
        if not job.spec.session:
            self._stand(job)
            return
        if flow not in self._sessions:
            self._sessions[flow] = PriorityQueue(self._place_of_id)
        self._sessions[flow].put(job.job_id)
        self._step_up(flow)

    def remove(self, job: Job) -> None:
        """A job waits no more: assigned, cancelled or out of time."""
        if self._jobs.pop(job.job_id, None) is None:
            return
        mine = self._of_client[job.client_id]
        del mine[job.job_id]
        if not mine:
            del self._of_client[job.client_id]
        self.step_aside(job)
        flow = flow_of(job)
        self.shares.end(job.spec.tenant, flow)
        if job.spec.session:
            self._sessions[flow].drop(job.job_id)
            self._step_up(flow)

    def step_aside(self, job: Job) -> None:
        """A job lets those behind it pass, but not those of its own session."""
        if self._standing.pop(job.job_id, None) is not None:
            queue = self._queues.get(job.demand)
            if queue:
                queue.leave(flow_of(job), job.job_id)

    def step_back(self, job: Job) -> None:
        """A job that stepped aside stands where it stood."""
        self._stand(job)

    def first(self, demand: Demand) -> Job | None:
        """The next job of a demand, None if nobody stands in its queue."""
        queue = self._queues.get(demand)
        job_id = queue.first_id() if queue else None
        return self._jobs[job_id] if job_id else None

    def turn(self, demand: Demand) -> Turn | None:
        """The turn of the next job of a demand."""
        queue = self._queues.get(demand)
        if queue is None:
            return None
        first = queue.first()
        if first is None:
            del self._queues[demand]
            return None
        priority, of_flow, deadline_at_ms, number = first
        return (priority, self.shares.turn_of_tenant(demand.tenant), of_flow, deadline_at_ms, number)

    def demands(self) -> list[Demand]:
        """The demands with somebody in their queue, in no order."""
        return [demand for demand in list(self._queues) if self.turn(demand)]

    def jobs(self) -> Iterator[Job]:
        """All that wait, in no order."""
        return iter(self._jobs.values())

    def of_client(self, client_id: str) -> list[Job]:
        """A client's jobs that wait, in no order."""
        return [self._jobs[job_id] for job_id in self._of_client.get(client_id, ())]

    def in_turn(self, demand: Demand) -> Iterator[Job]:
        """The jobs of a demand as they would be served if nobody else came. For people: costs a sorting."""
        lines: dict[Flow, list[Job]] = {}
        for job in self._jobs.values():
            if job.demand == demand:
                lines.setdefault(flow_of(job), []).append(job)
        had = {flow: self.shares.had(demand.tenant, flow) for flow in lines}
        for flow, line in lines.items():
            line.sort(key=(lambda job: (job.utterance_index or 0, job.number)) if flow[1] else order_of, reverse=True)
        heap = [(_turn_at(line[-1], had[flow]), flow) for flow, line in lines.items()]
        heapq.heapify(heap)
        while heap:
            _, flow = heapq.heappop(heap)
            job = lines[flow].pop()
            had[flow] += cost_ms(job)
            if lines[flow]:
                heapq.heappush(heap, (_turn_at(lines[flow][-1], had[flow]), flow))
            yield job

    def _stand(self, job: Job) -> None:
        if job.job_id in self._standing:
            return
        self._standing[job.job_id] = job
        demand = job.demand
        queue = self._queues.get(demand)
        if queue is None:
            turn_of_flow = partial(self.shares.turn_of_flow, job.spec.tenant)
            queue = self._queues[demand] = Queue(self._order_of_id, turn_of_flow)
        if queue.stand(flow_of(job), job.job_id):
            self._notice(demand)

    def _order_of_id(self, job_id: str) -> Order | None:
        job = self._standing.get(job_id)
        return order_of(job) if job else None

    def _place_of_id(self, job_id: str) -> tuple[int, int] | None:
        job = self._jobs.get(job_id)
        return (job.utterance_index or 0, job.number) if job else None

    def _step_up(self, flow: Flow) -> None:
        """Let the earliest waiting utterance of a session stand in its queue, and nobody else of the session."""
        found = self._sessions[flow].first()
        if found is None:
            del self._sessions[flow], self._stander[flow]
            return
        first = found[1]
        stander = self._stander.get(flow)
        if stander != first:
            if stander in self._jobs:
                self.step_aside(self._jobs[stander])
            self._stander[flow] = first
        self._stand(self._jobs[first])


def cost_ms(job: Job) -> int:
    """What an assignment costs its flow until its audio is measured."""
    return max(job.audio_ms, LEAST_MS)


def _turn_at(job: Job, had_ms: int) -> Turn:
    priority, deadline_at_ms, number = order_of(job)
    return (priority, 0, had_ms // QUANTUM_MS, deadline_at_ms, number)
