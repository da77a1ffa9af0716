"""Which waiting jobs will be served before a job if nobody else comes: for people, who ask for one job at a time.

By the same rule that serves them (see ``fair_shares``), but without serving anybody: the virtual time at which a job
will begin follows from the jobs before it in its flow, and only from these. So jobs are put in order flow by flow, then
tenant by tenant.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.queue.fair_shares import QUANTUM_MS
from ray_sched.core.queue.waiting import FlowKey, Waiting, cost_ms, job_key
from ray_sched.core.slices import Sliced, sort

_AT_ONCE = 200
_FIRST: FlowKey = (-(10**9), 0, 0, 0)

_Flow = tuple[str, SessionKey]
"""Tenant and session key."""
_Place = tuple[FlowKey, int]
"""Where a job is in the order of its tenant, and its cost in milliseconds."""


def ahead_of(waiting: Waiting, job: Job, competes: Callable[[Demand], bool]) -> Sliced[list[int]]:
    """The audio, in milliseconds, of each job that is served before this one, of those whose demand competes with its.

    The job itself need not wait: then it is the last of its flow.
    """
    tenant, own_flow = job.spec.tenant, (job.spec.tenant, job.session_key)
    by_flow = yield from _by_flow(waiting, job, competes)
    before = yield from _before_in_flow(by_flow.pop(own_flow, ()), job)
    yield
    virtual_ms = waiting.shares.virtual_ms(*own_flow)
    begins_ms = virtual_ms + sum(cost_ms(other) for other in before)
    key = (-job.spec.priority, begins_ms // QUANTUM_MS, job.deadline_at_ms, job.number)
    if job.spec.session:  # which never overtakes itself: the job is as late as the latest before it
        key = (yield from _in_flow([*before, job], virtual_ms, is_session=True))[-1][0]
    yield
    ahead = [(-other.spec.priority, cost_ms(other)) for other in before]
    yield
    others: dict[str, list[_Place]] = {}
    for (name, flow), jobs in by_flow.items():
        places = yield from _in_flow(jobs, waiting.shares.virtual_ms(name, flow), is_session=bool(flow[1]))
        if name == tenant:
            ahead += [(place[0], cost) for place, cost in places[: bisect_left(places, (key, 0))]]
        else:
            others.setdefault(name, []).extend(places)
    begins_ms = waiting.shares.tenants.virtual_ms((tenant,)) + sum(cost for first, cost in ahead if first == key[0])
    yield
    costs = [cost for _, cost in ahead]
    for name, places in others.items():
        virtual_ms = waiting.shares.tenants.virtual_ms((name,))
        costs += yield from _of_tenant(places, virtual_ms, key, begins_ms)
    return costs


def _of_tenant(places: list[_Place], virtual_ms: int, key: FlowKey, begins_ms: int) -> Sliced[list[int]]:
    """The costs of another tenant's jobs that come before one with this key, whose tenant is at ``begins_ms`` then."""
    costs = []
    for place, cost in (yield from sort(places)):
        if place[0] > key[0]:
            break
        if place[0] == key[0]:
            if (virtual_ms // QUANTUM_MS, *place[1:]) > (begins_ms // QUANTUM_MS, *key[1:]):
                break
            virtual_ms += cost
        costs.append(cost)
    return costs


def _before_in_flow(jobs: Iterable[Job], job: Job) -> Sliced[list[Job]]:
    """Those of a job's own flow that are served before it."""
    key = _order(job)
    before = []
    for n, other in enumerate(jobs):
        if _order(other) < key:
            before.append(other)
        if not n % _AT_ONCE:
            yield
    return before


def _order(job: Job) -> tuple[int, int, int]:
    """The sort key of a job within its flow."""
    return (job.utterance_index or 0, job.number, 0) if job.spec.session else job_key(job)


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
    return by_flow


def _in_flow(jobs: Iterable[Job], virtual_ms: int, *, is_session: bool) -> Sliced[list[_Place]]:
    """The places of the jobs of a flow, in which the next one begins at this virtual time."""
    keys = []
    for n, job in enumerate(jobs):
        keys.append((_order(job), *job_key(job), cost_ms(job)))
        if not n % _AT_ONCE:
            yield
    places: list[_Place] = []
    before = _FIRST
    for n, (_, priority, deadline_at_ms, number, cost) in enumerate((yield from sort(keys))):
        place = (priority, virtual_ms // QUANTUM_MS, deadline_at_ms, number)
        before = max(before, place) if is_session else place
        places.append((before, cost))
        virtual_ms += cost
        if not n % _AT_ONCE:
            yield
    return places
