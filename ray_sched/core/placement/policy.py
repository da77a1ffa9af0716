"""Selection: which node a job goes to, and why not the others. Filter, score, pick, explain.

Filters are small functions that give a reason or nothing; scores give the expected completion in seconds, smaller is
better. Both are lists: to change the policy, change the list. Ties are broken by a number made of the job's id, so a
choice can be replayed.
"""

import zlib
from collections.abc import Callable, Iterable

from msgspec import Struct

from ray_sched.core.capability import Demand, uncovered
from ray_sched.core.placement.node_state import Seat
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
    runs_alone: bool = False
    """It needs a node without any other attempt."""
    excluded_node: str = ""
    affine_node: str = ""
    company_node: str = ""
    """Where the submitter's job before this one went in the same turn."""


Filter = Callable[[Seat, Question], Reason | None]
Score = Callable[[Seat, Question], float]


def covers(seat: Seat, q: Question) -> Reason | None:
    """Languages, services, tenant and GPU."""
    return uncovered(q.demand, seat.capability)


def is_leased(seat: Seat, q: Question) -> Reason | None:
    """Readiness, drain and thresholds: the pool's own word, and whether its term still runs."""
    return seat.why or (Reason.NOT_READY if q.now_ms >= seat.term_ends_at_ms else None)


def has_its_models(seat: Seat, q: Question) -> Reason | None:
    """No service of the job was reported as not available a short while ago."""
    until = seat.unavailable_until_ms
    if until and any(until.get(service, 0) > q.now_ms for service in q.demand.services):
        return Reason.SERVICE_UNAVAILABLE
    return None


def is_trusted(seat: Seat, q: Question) -> Reason | None:
    """The node did not fail too many of its last attempts."""
    return Reason.QUARANTINED if seat.quarantined_until_ms > q.now_ms else None


def is_willing(seat: Seat, q: Question) -> Reason | None:
    """The node did not refuse a job a moment ago."""
    return Reason.REFUSED_LATELY if seat.resting_until_ms > q.now_ms else None


def is_another_node(seat: Seat, q: Question) -> Reason | None:
    """The last attempt did not fail here."""
    return Reason.EXCLUDED if seat.node == q.excluded_node else None


def is_not_kept(seat: Seat, q: Question) -> Reason | None:
    """The node is not kept empty for another job."""
    return Reason.KEPT_EMPTY if seat.kept_empty_for not in {"", q.job_id} else None


def has_room(seat: Seat, q: Question) -> Reason | None:
    """A lease is free; for a job that has to run alone, all of them are."""
    if not seat.n_free:
        return Reason.CAPACITY_FULL
    return Reason.NOT_EMPTY if q.runs_alone and seat.n_spent else None


FILTERS: tuple[Filter, ...] = (
    covers,
    is_leased,
    has_its_models,
    is_trusted,
    is_another_node,
    is_willing,
    is_not_kept,
    has_room,
)


_PASSING = tuple(passing for passing in FILTERS if passing not in {covers, has_room})


def expected_completion_s(seat: Seat, q: Question) -> float:
    """Seconds until this job would be done there: audio in flight, its own included, by the learned speed."""
    return (seat.in_flight_ms + q.audio_ms) / 1000 / q.speeds.speed(seat.node, q.pair)


def affinity(seat: Seat, q: Question) -> float:
    """The session's own node counts as a little faster than it is."""
    return q.rules.affinity_discount if seat.node == q.affine_node else 1.0


SCORES: tuple[Score, ...] = (expected_completion_s, affinity)
"""Multiplied with each other."""


def passes(seat: Seat, q: Question) -> bool:
    """Whether nothing speaks against a seat that is known to cover the job and to have a free slot."""
    for passing in _PASSING:  # noqa: SIM110  # a generator costs half as much again
        if passing(seat, q) is not None:
            return False
    return True


def blocker(seat: Seat, q: Question) -> Reason | None:
    """The first reason against this seat, or None."""
    for passes in FILTERS:
        reason = passes(seat, q)
        if reason is not None:
            return reason
    return None


def score(seat: Seat, q: Question) -> float:
    """The seat's score for the question; smaller is better."""
    product = 1.0
    for factor in SCORES:
        product *= factor(seat, q)
    return product


def select(seats: Iterable[Seat], q: Question) -> tuple[Seat | None, dict[str, Reason]]:
    """The best seat, or None, and the reason for each node passed over.

    The node of the failed attempt is excluded only while another node could do the job at all.
    """
    seats = list(seats)
    if q.excluded_node and not any(s.node != q.excluded_node and covers(s, q) is None for s in seats):
        q.excluded_node = ""
    reasons: dict[str, Reason] = {}
    passed: list[Seat] = []
    for seat in seats:
        reason = blocker(seat, q)
        if reason is None:
            passed.append(seat)
        else:
            reasons[seat.node] = reason
    return best(passed, q), reasons


def best(seats: Iterable[Seat], q: Question) -> Seat | None:
    """The seat with the best score; ties are broken by the job. Company is kept while it costs little time."""
    found: list[Seat] = []
    best_score = float("inf")
    company: tuple[float, Seat] | None = None
    for seat in seats:
        its_score = score(seat, q)
        if seat.node == q.company_node:
            company = (its_score, seat)
        if its_score < best_score - _TIE:
            found, best_score = [seat], its_score
        elif its_score <= best_score + _TIE:
            found.append(seat)
    if company and company[0] <= best_score + q.rules.company_ms / 1000:
        return company[1]
    return found[chance(q) % len(found)] if found else None


def chance(q: Question) -> int:
    """A number made of the attempt's name."""
    return zlib.crc32(q.tie_key.encode())
