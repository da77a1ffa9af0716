"""Which waiting jobs will be served before a job if nobody else comes: for people, who ask for one job at a time.

By the same rule that serves them (see ``fair_shares``), but without serving anybody: the virtual time at which a job
will begin follows from the jobs before it in its flow, and only from these. So jobs are put in order flow by flow, then
tenant by tenant.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.queue.fair_shares import QUANTUM_MS
from ray_sched.core.queue.waiting import Waiting, cost_ms, job_key
from ray_sched.core.slices import Sliced, sort

_AT_ONCE = 200

_Flow = tuple[str, SessionKey]
"""Tenant and session key."""


class _Place(NamedTuple):
    """Where a job is in the order of its tenant. Compared as a tuple; the smallest is served first."""

    priority: int
    """Negative, so that the highest is first."""
    flow_quanta: int
    deadline_at_ms: int
    number: int
    nth: int
    """In its flow: a session never overtakes itself."""
    cost_ms: int
    job_id: str


def ahead_of(waiting: Waiting, job: Job, competes: Callable[[Demand], bool]) -> Sliced[list[int]]:
    """The audio, in milliseconds, of each job that is served before this one, of those whose demand competes with its.

    The job itself need not wait: then it is the last of its flow.
    """
    by_flow = yield from _by_flow(waiting, job, competes)
    tenant = job.spec.tenant
    own: list[_Place] = []
    others: dict[str, list[_Place]] = {}
    for (name, flow), jobs in by_flow.items():
        begin_ms = waiting.shares.virtual_ms(name, flow)
        places = yield from _in_flow(jobs, begin_ms, is_session=bool(flow[1]))
        if name == tenant:
            own += places
        else:
            others.setdefault(name, []).extend(places)
    place = next(place for place in own if place.job_id == job.job_id)
    ahead = [each.cost_ms for each in own if each < place]
    begins_ms = waiting.shares.tenants.virtual_ms((tenant,))
    begins_ms += sum(each.cost_ms for each in own if each < place and each.priority == place.priority)
    for name, places in others.items():
        virtual_ms = waiting.shares.tenants.virtual_ms((name,))
        for each in (yield from sort(places)):
            if each.priority > place.priority:
                break
            if each.priority == place.priority:
                if (virtual_ms // QUANTUM_MS, *each[1:4]) > (begins_ms // QUANTUM_MS, *place[1:4]):
                    break
                virtual_ms += each.cost_ms
            ahead.append(each.cost_ms)
    return ahead


def _by_flow(waiting: Waiting, job: Job, competes: Callable[[Demand], bool]) -> Sliced[dict[_Flow, list[Job]]]:
    by_flow: dict[_Flow, list[Job]] = {}
    known: dict[Demand, bool] = {}
    for n, other in enumerate(waiting.all()):
        demand = other.demand
        is_rival = known.get(demand)
        if is_rival is None:
            is_rival = known[demand] = competes(demand)
        if is_rival and other is not job and not waiting.is_paused(other.client_id):
            spec = other.spec
            by_flow.setdefault((spec.tenant, (other.client_id, spec.session)), []).append(other)
        if not n % _AT_ONCE:
            yield
    by_flow.setdefault((job.spec.tenant, job.session_key), []).append(job)
    return by_flow


def _in_flow(jobs: Iterable[Job], virtual_ms: int, *, is_session: bool) -> Sliced[list[_Place]]:
    """The places of the jobs of a flow, in which the next one begins at this virtual time."""
    by_id = {job.job_id: job for job in jobs}
    if is_session:
        keys = [(0, job.utterance_index or 0, job.number, job.job_id) for job in by_id.values()]
    else:
        keys = [(*job_key(job), job.job_id) for job in by_id.values()]
    places: list[_Place] = []
    before = (-(10**9), 0, 0, 0)
    for nth, (*_, job_id) in enumerate((yield from sort(keys))):
        job = by_id[job_id]
        priority, deadline_at_ms, number = job_key(job)
        before = max(before, (priority, virtual_ms // QUANTUM_MS, deadline_at_ms, number))
        cost = cost_ms(job)
        places.append(_Place(*before, nth, cost, job_id))
        virtual_ms += cost
        if not nth % _AT_ONCE:
            yield
    return places
