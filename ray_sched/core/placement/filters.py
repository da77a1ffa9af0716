"""Filters: small functions that give a reason against a node for a job, or None. A policy is given a list of them."""

from collections.abc import Callable

from ray_sched.core.capability import uncovered
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question
from ray_sched.core.reasons import Reason

Filter = Callable[[NodeState, Question], Reason | None]


def covers(node_state: NodeState, q: Question) -> Reason | None:
    """Languages, services, tenant and GPU."""
    return uncovered(q.demand, node_state.capability)


def is_leased(node_state: NodeState, q: Question) -> Reason | None:
    """Readiness, drain and thresholds as the pool decided them, and whether its term still runs."""
    return node_state.why or (Reason.NOT_READY if q.now_ms >= node_state.term_ends_at_ms else None)


def has_its_models(node_state: NodeState, q: Question) -> Reason | None:
    """No service of the job was reported as not available a short while ago; one that is late looks again."""
    until = node_state.unavailable_until_ms
    if until and not q.is_late and any(until.get(service, 0) > q.now_ms for service in q.demand.services):
        return Reason.SERVICE_UNAVAILABLE
    return None


def is_trusted(node_state: NodeState, q: Question) -> Reason | None:
    """The node did not fail too many of its last attempts."""
    return Reason.QUARANTINED if node_state.quarantined_until_ms > q.now_ms else None


def is_another_node(node_state: NodeState, q: Question) -> Reason | None:
    """The last attempt did not fail here; one that is late comes back."""
    return Reason.EXCLUDED if node_state.node == q.excluded_node and not q.is_late else None


def is_willing(node_state: NodeState, q: Question) -> Reason | None:
    """The node did not refuse a job a moment ago."""
    return Reason.REFUSED_LATELY if node_state.resting_until_ms > q.now_ms else None


def is_not_reserved(node_state: NodeState, q: Question) -> Reason | None:
    """The node is not reserved for another job."""
    return Reason.RESERVED if node_state.reserved_for and node_state.reserved_for != q.job_id else None


def has_room(node_state: NodeState, q: Question) -> Reason | None:
    """A slot is free; for an exclusive job, all of them are."""
    if not node_state.n_free:
        return Reason.CAPACITY_FULL
    return Reason.NOT_EMPTY if q.is_exclusive and node_state.n_acquired else None


FILTERS: tuple[Filter, ...] = (
    covers,
    is_leased,
    has_its_models,
    is_trusted,
    is_another_node,
    is_willing,
    is_not_reserved,
    has_room,
)
"""In the order in which their reasons count: the first one is the reason against a node."""
