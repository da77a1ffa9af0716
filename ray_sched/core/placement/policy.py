"""Selection: which node a job goes to, and why not the others. Filter, score, pick, explain.

Filters are small functions that give a reason or nothing; scores give the expected completion in seconds, smaller is
better. Both are lists: to change the policy, change the list. Ties are broken by a number made of the job's id, so a
choice can be replayed.
"""

import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.leases.lease import LeaseEvent, LeaseState, next_lease_state
from ray_sched.core.messages import Load
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import SelectionRules

AttemptKey = tuple[str, int]
"""Job id and attempt."""

_RECENT = 5
_TIE = 1e-9
_MAX_DOUBLINGS = 5
_SLOWEST, _FASTEST = 0.001, 10_000.0
"""Audio-seconds per second that are believed; a node that claims more would have all jobs, one with less none."""
_MAX_PAIRS = 4_096


def _nobody_cares(_seat: "Seat") -> None:
    """A seat that is in no group."""


class Seat:
    """A node in the Dispatcher's eyes: its leases, what is in flight there and how it did lately.

    Never oversold: a slot is in ``_free`` or on exactly one attempt, and every change goes through the lease table.
    """

    def __init__(self, node: str, incarnation: int, capability: Capability) -> None:
        self.node = node
        self.incarnation = incarnation
        self.capability = capability
        self.agent = ""
        self.pool = ""
        self.status = ""
        self.total_slots = 0
        self.load = Load()
        self.why: Reason | None = Reason.NOT_READY
        self.term_ends_at_ms = 0
        self.in_flight_ms = 0
        self.quarantined_until_ms = 0
        self.resting_until_ms = 0
        self.kept_empty_for = ""
        """The one job that may be assigned here: it has to run alone."""
        self.unavailable_until_ms: dict[str, int] = {}
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._failures_in_a_row = 0
        self._refusals_in_a_row = 0
        self._leases: dict[int, LeaseState] = {}
        self._free: list[int] = []
        self._spent: dict[AttemptKey, tuple[int, int]] = {}
        self._notice: Callable[[Seat], None] = _nobody_cares

    def tell(self, notice: "Callable[[Seat], None]") -> None:
        """Call this whenever the number of leases or of free ones may have changed."""
        self._notice = notice

    def lease(self, slots: int, term_ends_at_ms: int) -> None:
        """Take a pool's offer: slots 0 to ``slots`` - 1 until the term ends; the others are revoked."""
        self.term_ends_at_ms = term_ends_at_ms
        for slot in range(slots):
            state = self._leases.get(slot)
            if state is None:
                self._leases[slot] = LeaseState.OFFERED
                self._free.append(slot)
            else:
                self._leases[slot] = next_lease_state(state, LeaseEvent.RENEW)
        if len(self._leases) > slots:
            self._end([slot for slot in self._leases if slot >= slots], LeaseEvent.REVOKE)
        self._notice(self)

    def expire(self, now_ms: int) -> None:
        """End the leases if their term is over."""
        if now_ms >= self.term_ends_at_ms:
            self._end(list(self._leases), LeaseEvent.EXPIRE)
            self._notice(self)

    def spend(self, attempt: AttemptKey, audio_ms: int) -> None:
        """Put an attempt on a free slot. Raises IndexError if there is none."""
        slot = self._free.pop()
        self._leases[slot] = next_lease_state(self._leases[slot], LeaseEvent.SPEND)
        self._spent[attempt] = (slot, audio_ms)
        self.in_flight_ms += audio_ms
        self._notice(self)

    def reclaim(self, attempt: AttemptKey, audio_ms: int) -> bool:
        """Put an attempt that is on the node already on a slot, leased or not. False if all slots are taken."""
        if not self._free:
            if self.n_spent >= self.total_slots:
                return False
            slot = next(slot for slot in range(self.total_slots) if slot not in self._leases)
            self._leases[slot] = LeaseState.ENDING
            self._spent[attempt] = (slot, audio_ms)
            self.in_flight_ms += audio_ms
            self._notice(self)
            return True
        self.spend(attempt, audio_ms)
        return True

    def give_back(self, attempt: AttemptKey) -> bool:
        """The attempt has left its slot. False if it held none."""
        if attempt not in self._spent:
            return False
        slot, audio_ms = self._spent.pop(attempt)
        if self.kept_empty_for == attempt[0]:
            self.kept_empty_for = ""
        self.in_flight_ms -= audio_ms
        state = next_lease_state(self._leases[slot], LeaseEvent.RETURN)
        if state is LeaseState.OFFERED:
            self._leases[slot] = state
            self._free.append(slot)
        else:
            del self._leases[slot]
        self._notice(self)
        return True

    def _end(self, slots: Iterable[int], event: LeaseEvent) -> None:
        for slot in slots:
            state = next_lease_state(self._leases[slot], event)
            if state is LeaseState.ENDING:
                self._leases[slot] = state
            else:
                del self._leases[slot]
                self._free.remove(slot)

    @property
    def n_free(self) -> int:
        """Leases that can be spent now."""
        return len(self._free)

    @property
    def n_spent(self) -> int:
        """Slots with an attempt on them, also those whose lease is ending."""
        return len(self._spent)

    @property
    def n_leased(self) -> int:
        """Leases of any living state."""
        return len(self._leases)

    def holds(self, attempt: AttemptKey) -> bool:
        """Whether the attempt has a slot here."""
        return attempt in self._spent

    def attempts(self) -> list[AttemptKey]:
        """The attempts that hold a slot."""
        return list(self._spent)

    def keep_empty_for(self, job_id: str) -> None:
        """Nobody but this job gets a slot here until it has left its own; empty: anybody may."""
        self.kept_empty_for = job_id
        self._notice(self)

    def remember(self, *, is_success: bool, now_ms: int, rules: SelectionRules) -> bool:
        """Note how an attempt ended on this node. True if that put the node in quarantine."""
        self._recent.append(is_success)
        self._failures_in_a_row = 0 if is_success else self._failures_in_a_row + 1
        failures = sum(not ok for ok in self._recent)
        if is_success or (
            self._failures_in_a_row < rules.quarantine_failures_in_a_row
            and failures < rules.quarantine_failures_of_last_5
        ):
            return False
        self.quarantined_until_ms = now_ms + rules.quarantine_ms
        self._recent.clear()
        self._failures_in_a_row = 0
        return True

    def rest_after_refusal(self, now_ms: int, rules: SelectionRules) -> None:
        """Leave the node alone for a while, longer with each refusal in a row."""
        self.resting_until_ms = now_ms + rules.refusal_rest_ms * 2 ** min(self._refusals_in_a_row, _MAX_DOUBLINGS)
        self._refusals_in_a_row += 1

    def has_accepted(self) -> None:
        """The node took a job: refusals are forgotten."""
        self._refusals_in_a_row = 0


class SpeedBook:
    """What was learned of each node's speed: audio-seconds per second, per node and pair, exponentially averaged."""

    def __init__(self, rules: SelectionRules) -> None:
        self._weight = rules.speed_weight
        self._default = rules.default_speed
        self._speed: dict[tuple[str, str], float] = {}
        self._of_pair: dict[str, float] = {}
        self._unsaved: set[str] = set()

    def load(self, speeds: dict[str, dict[str, float]]) -> None:
        """Take over what was stored: node to pair to speed. What has been learned meanwhile stays."""
        for node, pairs in speeds.items():
            for pair, speed in pairs.items():
                self._speed.setdefault((node, pair), speed)
                self._of_pair.setdefault(pair, speed)

    def take_unsaved(self) -> dict[str, dict[str, float]]:
        """What was learned since the last call: node to pair to speed."""
        nodes, self._unsaved = self._unsaved, set()
        return {node: speeds for node in sorted(nodes) if (speeds := self.of_node(node))}

    def all(self) -> dict[str, dict[str, float]]:
        """What is known: node to pair to speed."""
        nodes: dict[str, dict[str, float]] = {}
        for (node, pair), speed in self._speed.items():
            nodes.setdefault(node, {})[pair] = speed
        return nodes

    def learn(self, node: str, pair: str, audio_ms: int, run_ms: int) -> None:
        """Take one observation in. A run too short to measure counts as 1 ms, and nobody is believed everything."""
        if audio_ms <= 0:
            return
        if pair not in self._of_pair and len(self._of_pair) >= _MAX_PAIRS:
            return
        seen = min(max(audio_ms / max(run_ms, 1), _SLOWEST), _FASTEST)
        self._speed[node, pair] = self._average(self._speed.get((node, pair)), seen)
        self._unsaved.add(node)
        self._of_pair[pair] = self._average(self._of_pair.get(pair), seen)

    def speed(self, node: str, pair: str) -> float:
        """The node's speed for the pair; for a node not seen yet the average of the others, else the default."""
        return self._speed.get((node, pair)) or self._of_pair.get(pair) or self._default

    def _average(self, had: float | None, seen: float) -> float:
        return seen if had is None else had + self._weight * (seen - had)

    def of_node(self, node: str) -> dict[str, float]:
        """What is known of one node, by pair."""
        return {pair: speed for (name, pair), speed in self._speed.items() if name == node}

    def forget_all_but(self, nodes: Collection[str]) -> None:
        """Nodes that are not there any more are forgotten; what they taught of a pair stays in its average."""
        for key in [key for key in self._speed if key[0] not in nodes]:
            del self._speed[key]


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
