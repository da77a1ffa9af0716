"""The policy: which node a job goes to, which one is reserved for it, and what speaks for and against each node.

One function decides, whoever asks: the Dispatcher that places a job, a person who wants to know why a job waits, and
a dry run. A policy of one's own takes its place by being given to the Dispatcher's brain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple, Protocol

import msgspec

from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.filters import FILTERS, Filter, covers, has_room
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question, tie_number
from ray_sched.core.placement.scores import SCORES, Score, expected_empty_s
from ray_sched.core.reasons import Reason

_EQUAL_S = 1e-9
"""Scores that differ by no more are equal."""
_LASTING = frozenset({Reason.DRAINING, Reason.QUARANTINED, Reason.SERVICE_UNAVAILABLE})
"""What is against a node for longer than jobs wait: no reason to wait for it beside another one."""


_MOST_SEEN = 16
"""Of so many candidates the scores are kept."""
_Seen = list[tuple[str, list[float]]]


class NodeScore(NamedTuple):
    """How good a node is for a job; smaller is better."""

    total: float
    """Product of the parts."""
    parts: Mapping[str, float]
    """Each score by its name."""


_NO_REASONS: Mapping[str, Reason] = {}
_NO_SCORES: Mapping[str, NodeScore] = {}


class Considered(NamedTuple):
    """The candidates among which a node was chosen, and their scores at that moment."""

    names: tuple[str, ...]
    """Of the scores."""
    candidates: list[tuple[str, list[float]]]
    """Node and its scores, in the order of the names; the first sixteen that nothing spoke against."""


class Placement(NamedTuple):
    """Where a job goes, and if that was asked for, what was decided of each node there is."""

    node_state: NodeState | None
    """The job goes there; None: it waits on."""
    to_reserve: NodeState | None = None
    """For an exclusive job that waits on: nothing new goes to this node, so that it becomes empty."""
    reasons: Mapping[str, Reason] = _NO_REASONS
    """Node to the reason against it."""
    scores: Mapping[str, NodeScore] = _NO_SCORES
    """Node to its score, for those that nothing speaks against."""
    considered: Considered | None = None
    """Who was compared, if the policy says so."""


class PlacementPolicy(Protocol):
    """Decides where a job goes. Pure: it looks at nodes and changes none of them."""

    def place(self, q: Question, candidates: Candidates, *, is_explained: bool = False) -> Placement:
        """The node for this job, out of the candidates with a free slot.

        ``reasons`` and ``scores`` are asked for with ``is_explained``, for every node there is; the node found is the
        same one with it and without.
        """
        ...


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """Filter, score, pick: the best by the product of the scores among the nodes that no filter is against.

    The choice among many free nodes is made out of a few of them, see :meth:`Candidates.sample`.
    """

    filters: tuple[Filter, ...] = FILTERS
    scores: tuple[Score, ...] = SCORES
    is_sampled: bool = True
    """Of many free nodes a few of the fastest are enough; without it all are looked at, for scores not about speed."""
    _names: tuple[str, ...] = field(init=False, repr=False)
    _of_free: tuple[Filter, ...] = field(init=False, repr=False)
    """Without those that say nothing of a candidate with a free slot."""

    def __post_init__(self) -> None:
        """Sort out what need not be asked of every free node."""
        asked = tuple(passes for passes in self.filters if passes not in {covers, has_room})
        object.__setattr__(self, "_of_free", asked)
        object.__setattr__(self, "_names", tuple(score.__name__ for score in self.scores))

    def place(self, q: Question, candidates: Candidates, *, is_explained: bool = False) -> Placement:
        """See PlacementPolicy."""
        if q.excluded_node:
            q = self._without_vain_exclusion(q, candidates)
        seen: _Seen = []
        found = self._pick(q, candidates, seen)
        considered = Considered(self._names, seen) if found else None
        to_reserve = self._find_to_reserve(q, candidates) if q.is_exclusive and not found else None
        if not is_explained:
            return Placement(found, to_reserve, considered=considered)
        reasons: dict[str, Reason] = {}
        scores: dict[str, NodeScore] = {}
        for node_state in candidates.all_nodes():
            if reason := self._reason(node_state, q):
                reasons[node_state.node] = reason
            else:
                parts = {score.__name__: score(node_state, q) for score in self.scores}
                scores[node_state.node] = NodeScore(prod(parts.values()), parts)
        return Placement(found, to_reserve, reasons, scores, considered)

    def _pick(self, q: Question, candidates: Candidates, seen: _Seen) -> NodeState | None:
        if q.is_exclusive:
            return self._best((node_state for node_state in candidates.free() if not node_state.n_acquired), q, seen)
        if self.is_sampled and candidates.has_many_free and (found := self._best(candidates.sample(q), q, seen)):
            return found
        return self._best(candidates.free(), q, seen)

    def _find_to_reserve(self, q: Question, candidates: Candidates) -> NodeState | None:
        """The node that is reserved for the job already, else the one that will be empty first."""
        passing = [node_state for node_state in candidates.nodes() if self._passes(node_state, q)]
        reserved = [node_state for node_state in passing if node_state.reserved_for == q.job_id]
        unreserved = (node_state for node_state in passing if not node_state.reserved_for)
        return reserved[0] if reserved else min(unreserved, key=lambda each: expected_empty_s(each, q), default=None)

    def _best(self, node_states: Iterable[NodeState], q: Question, seen: _Seen) -> NodeState | None:
        """The best that passes. Equals are told apart by the attempt; colocation counts while it costs little time."""
        found: list[NodeState] = []
        best_score = float("inf")
        colocated: tuple[float, NodeState] | None = None
        for node_state in node_states:
            if not self._passes(node_state, q):
                continue
            parts = [factor(node_state, q) for factor in self.scores]
            score = prod(parts)
            if len(seen) < _MOST_SEEN:
                seen.append((node_state.node, parts))
            if node_state.node == q.colocated_node:
                colocated = (score, node_state)
            if score < best_score - _EQUAL_S:
                found, best_score = [node_state], score
            elif score <= best_score + _EQUAL_S:
                found.append(node_state)
        if colocated and colocated[0] <= best_score + q.rules.colocate_ms / 1000:
            return colocated[1]
        if len(found) > 1:
            return found[tie_number(q) % len(found)]
        return found[0] if found else None

    def _passes(self, node_state: NodeState, q: Question) -> bool:
        """Whether nothing but its room may speak against a candidate."""
        for reason_of in self._of_free:  # noqa: SIM110  # a generator costs half as much again
            if reason_of(node_state, q) is not None:
                return False
        return True

    def _reason(self, node_state: NodeState, q: Question) -> Reason | None:
        for reason_of in self.filters:
            if reason := reason_of(node_state, q):
                return reason
        return None

    def _without_vain_exclusion(self, q: Question, candidates: Candidates) -> Question:
        """The node of the failed attempt is avoided for a moment, then while another could do the job before long."""
        others = (node_state for node_state in candidates.nodes() if node_state.node != q.excluded_node)
        if q.now_ms < q.excluded_until_ms or any(self._reason(other, q) not in _LASTING for other in others):
            return q
        return msgspec.structs.replace(q, excluded_node="")


DEFAULT_POLICY = RankingPolicy()
"""What the Dispatcher's brain places by if it is given no other policy."""
