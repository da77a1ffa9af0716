"""Selection: which node a job goes to, and why not the others. Filter, score, pick, explain.

Filters are small functions that give a reason or nothing; scores give the expected completion in seconds, smaller is
better. Both are lists: to change the policy, change the list. Ties are broken by a number made of the job's id, so a
choice can be replayed.
"""

import zlib
from collections.abc import Callable, Iterable

from msgspec import Struct

from ray_sched.core.capability import Demand, uncovered
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import SelectionRules

_TIE = 1e-9


class Question(Struct, kw_only=True):
    """One job looking for a node: everything a filter or a score may look at besides the seat."""

    demand: Demand
    pair: str
    audio_ms: int
    now_ms: int
    rules: SelectionRules
    speeds: SpeedBook
    tie_key: str
    job_id: str = ""
    is_exclusive: bool = False
    """It needs a node without any other attempt."""
    excluded_node: str = ""
    affine_node: str = ""
    colocated_node: str = ""
    """Where the submitter's job before this one went in the same step."""


Filter = Callable[[NodeState, Question], Reason | None]
Score = Callable[[NodeState, Question], float]


def covers(node_state: NodeState, q: Question) -> Reason | None:
    """Languages, services, tenant and GPU."""
    return uncovered(q.demand, node_state.capability)


def is_leased(node_state: NodeState, q: Question) -> Reason | None:
    """Readiness, drain and thresholds: the pool's own word, and whether its term still runs."""
    return node_state.why or (Reason.NOT_READY if q.now_ms >= node_state.term_ends_at_ms else None)


def has_its_models(node_state: NodeState, q: Question) -> Reason | None:
    """No service of the job was reported as not available a short while ago."""
    until = node_state.unavailable_until_ms
    if until and any(until.get(service, 0) > q.now_ms for service in q.demand.services):
        return Reason.SERVICE_UNAVAILABLE
    return None


def is_trusted(node_state: NodeState, q: Question) -> Reason | None:
    """The node did not fail too many of its last attempts."""
    return Reason.QUARANTINED if node_state.quarantined_until_ms > q.now_ms else None


def is_willing(node_state: NodeState, q: Question) -> Reason | None:
    """The node did not refuse a job a moment ago."""
    return Reason.REFUSED_LATELY if node_state.resting_until_ms > q.now_ms else None


def is_another_node(node_state: NodeState, q: Question) -> Reason | None:
    """The last attempt did not fail here."""
    return Reason.EXCLUDED if node_state.node == q.excluded_node else None


def is_not_reserved(node_state: NodeState, q: Question) -> Reason | None:
    """The node is not kept empty for another job."""
    return Reason.RESERVED if node_state.reserved_for not in {"", q.job_id} else None


def has_room(node_state: NodeState, q: Question) -> Reason | None:
    """A lease is free; for a job that has to run alone, all of them are."""
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


_PASSING = tuple(passing for passing in FILTERS if passing not in {covers, has_room})


def expected_completion_s(node_state: NodeState, q: Question) -> float:
    """Seconds until this job would be done there: audio in flight, its own included, by the learned speed."""
    return (node_state.in_flight_ms + q.audio_ms) / 1000 / q.speeds.speed(node_state.node, q.pair)


def affinity(node_state: NodeState, q: Question) -> float:
    """The session's own node counts as a little faster than it is."""
    return q.rules.affinity_discount if node_state.node == q.affine_node else 1.0


SCORES: tuple[Score, ...] = (expected_completion_s, affinity)
"""Multiplied with each other."""


def passes(node_state: NodeState, q: Question) -> bool:
    """Whether nothing speaks against a seat that is known to cover the job and to have a free slot."""
    for passing in _PASSING:  # noqa: SIM110  # a generator costs half as much again
        if passing(node_state, q) is not None:
            return False
    return True


def blocker(node_state: NodeState, q: Question) -> Reason | None:
    """The first reason against this seat, or None."""
    for passes in FILTERS:
        reason = passes(node_state, q)
        if reason is not None:
            return reason
    return None


def score(node_state: NodeState, q: Question) -> float:
    """The seat's score for the question; smaller is better."""
    product = 1.0
    for factor in SCORES:
        product *= factor(node_state, q)
    return product


def select(node_states: Iterable[NodeState], q: Question) -> tuple[NodeState | None, dict[str, Reason]]:
    """The best seat, or None, and the reason for each node passed over.

    The node of the failed attempt is excluded only while another node could do the job at all.
    """
    node_states = list(node_states)
    if q.excluded_node and not any(s.node != q.excluded_node and covers(s, q) is None for s in node_states):
        q.excluded_node = ""
    reasons: dict[str, Reason] = {}
    passed: list[NodeState] = []
    for node_state in node_states:
        reason = blocker(node_state, q)
        if reason is None:
            passed.append(node_state)
        else:
            reasons[node_state.node] = reason
    return best(passed, q), reasons


def best(node_states: Iterable[NodeState], q: Question) -> NodeState | None:
    """The seat with the best score; ties are broken by the job. Company is kept while it costs little time."""
    found: list[NodeState] = []
    best_score = float("inf")
    colocated: tuple[float, NodeState] | None = None
    for node_state in node_states:
        its_score = score(node_state, q)
        if node_state.node == q.colocated_node:
            colocated = (its_score, node_state)
        if its_score < best_score - _TIE:
            found, best_score = [node_state], its_score
        elif its_score <= best_score + _TIE:
            found.append(node_state)
    if colocated and colocated[0] <= best_score + q.rules.colocate_ms / 1000:
        return colocated[1]
    return found[chance(q) % len(found)] if found else None


def chance(q: Question) -> int:
    """A number made of the attempt's name."""
    return zlib.crc32(q.tie_key.encode())
