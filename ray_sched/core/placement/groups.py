"""Groups: seats of equal capability, and which is next of the demands for which a slot is free.

Demands that the same groups can serve share their candidates: one list of free seats, one queue of those who wait. So
an assignment costs the same with three nodes as with a thousand and with one pool as with fifty. A slot that becomes
free, or full, is noted with each of the candidates that it belongs to: as many as there are kinds of demands that its
group serves together with different others, mostly one or two.

A job looks at free seats only. Up to ``EXACT`` of those it looks at all; among more it takes the best of ``SAMPLE``,
picked by the job's id, of its session's own node and of its company's. With that many free seats the best of eight is
among the best ninth of them (measured: ``tests/core/test_groups.py``); only if none of them passes, all are looked at.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import Question, best, chance, passes
from ray_sched.core.queue.priority_queue import PriorityQueue
from ray_sched.core.queue.waiting import QueueKey

EXACT = 16
SAMPLE = 8
_REMEMBERED_DEMANDS = 4_096


class Candidates:
    """The groups that can serve certain demands, their free seats, and which of these demands wait."""

    def __init__(self, groups: "tuple[Group, ...]", queue_key_of: Callable[[Demand], QueueKey | None]) -> None:
        self.groups = groups
        self.free: list[NodeState] = []
        self.demands: PriorityQueue[QueueKey, Demand] = PriorityQueue(queue_key_of)
        self._place: dict[str, int] = {}
        for group in groups:
            group.candidates.append(self)
            for node_state in group.node_states.values():
                if node_state.n_free:
                    self.add_free(node_state)

    def add_free(self, node_state: NodeState) -> None:
        """A seat has a free slot."""
        self._place[node_state.node] = len(self.free)
        self.free.append(node_state)

    def remove_free(self, node_state: NodeState) -> None:
        """It has none any more."""
        place = self._place.pop(node_state.node)
        last = self.free.pop()
        if last is not node_state:
            self.free[place] = last
            self._place[last.node] = place

    def queue_key(self) -> QueueKey | None:
        """The key of the first of these demands, None as long as there is no slot for it."""
        head = self.demands.head() if self.free else None
        return head[0] if head else None

    def node_states(self) -> Iterator[NodeState]:
        """All of them, free or not."""
        return (node_state for group in self.groups for node_state in group.node_states.values())

    def sample(self, q: Question) -> Iterator[NodeState]:
        """The session's own node, its company's and a few others, all different: a stride walks them evenly."""
        named = {node for node in (q.affine_node, q.colocated_node) if node in self._place}
        for node in named:
            yield self.free[self._place[node]]
        n_free = len(self.free)
        at, stride = chance(q), n_free // SAMPLE
        for n in range(SAMPLE):
            node_state = self.free[(at + n * stride) % n_free]
            if node_state.node not in named:
                yield node_state


class Group:
    """NodeTable of one capability."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability
        self.node_states: dict[str, NodeState] = {}
        self.candidates: list[Candidates] = []
        """Those it is part of."""


class Groups:
    """All groups, and which is next of the demands for which a slot is free."""

    def __init__(
        self, queue_key_of: Callable[[Demand], QueueKey | None], demands: Callable[[], Iterable[Demand]]
    ) -> None:
        self._queue_key_of = queue_key_of
        self._demands = demands
        self.n_leased = 0
        """Slots of all seats that may be used."""
        self._leased: dict[str, int] = {}
        self._has_free: set[str] = set()
        self._groups: dict[Capability, Group] = {}
        self._of_groups: dict[tuple[Group, ...], Candidates] = {}
        self._of_demand: dict[Demand, Candidates] = {}
        self._next: PriorityQueue[QueueKey, Candidates] = PriorityQueue(Candidates.queue_key)

    def add(self, node_state: NodeState) -> None:
        """A seat joins the group of its capability."""
        group = self._groups.get(node_state.capability)
        if group is None:
            group = self._groups[node_state.capability] = Group(node_state.capability)
            self._begin_anew()
        group.node_states[node_state.node] = node_state
        node_state.watch(partial(self._note, group))
        self._note(group, node_state)

    def remove(self, node_state: NodeState) -> None:
        """A seat leaves its group; an empty group is forgotten."""
        group = self._groups[node_state.capability]
        node_state.watch(lambda _seat: None)
        self.n_leased -= self._leased.pop(node_state.node, 0)
        self._set_free(group, node_state, is_free=False)
        del group.node_states[node_state.node]
        if not group.node_states:
            del self._groups[node_state.capability]
            self._begin_anew()

    def _note(self, group: Group, node_state: NodeState) -> None:
        """The leases of a seat may have changed."""
        n_leased = node_state.n_leased
        self.n_leased += n_leased - self._leased.get(node_state.node, 0)
        self._leased[node_state.node] = n_leased
        self._set_free(group, node_state, is_free=node_state.n_free > 0)

    def _set_free(self, group: Group, node_state: NodeState, *, is_free: bool) -> None:
        if is_free == (node_state.node in self._has_free):
            return
        if is_free:
            self._has_free.add(node_state.node)
            for candidates in group.candidates:
                candidates.add_free(node_state)
                self._next.enqueue(candidates)
        else:
            self._has_free.remove(node_state.node)
            for candidates in group.candidates:
                candidates.remove_free(node_state)

    def _begin_anew(self) -> None:
        """A group has come or gone: other groups serve the demands now."""
        self._next.clear()
        self._of_groups.clear()
        self._of_demand.clear()
        for group in self._groups.values():
            group.candidates.clear()
        for demand in self._demands():
            self.want(demand)

    def candidates(self, demand: Demand) -> Candidates:
        """The groups that could do such a job at all; remembered until a group comes or goes."""
        found = self._of_demand.get(demand)
        if found is None:
            if len(self._of_demand) >= _REMEMBERED_DEMANDS:
                self._forget_idle()
            found = self._of_demand[demand] = self._find(demand)
        return found

    def _find(self, demand: Demand) -> Candidates:
        groups = tuple(group for group in self._groups.values() if uncovered(demand, group.capability) is None)
        found = self._of_groups.get(groups)
        if found is None:
            found = self._of_groups[groups] = Candidates(groups, self._queue_key_of)
        return found

    def _forget_idle(self) -> None:
        """Candidates for whom nobody waits are found again when somebody does."""
        self._of_demand.clear()
        self._next.clear()
        for groups, candidates in list(self._of_groups.items()):
            if candidates.demands.head():
                self._next.enqueue(candidates)
            else:
                del self._of_groups[groups]
                for group in groups:
                    group.candidates.remove(candidates)

    def want(self, demand: Demand) -> None:
        """Jobs of this demand wait; its queue key may be smaller than it was."""
        candidates = self.candidates(demand)
        if candidates.groups and candidates.demands.enqueue(demand):
            self._next.enqueue(candidates)

    def skip(self, demand: Demand) -> None:
        """None of the free slots is for this demand's next jobs, for the moment."""
        self.candidates(demand).demands.remove(demand)

    def next_demand(self) -> Demand | None:
        """The demand that is next, among those for which a slot is free."""
        found = self._next.head()
        return found[1].demands.last_head() if found else None

    def is_served(self, demand: Demand) -> bool:
        """Whether any node could do such a job at all."""
        return bool(self.candidates(demand).groups)

    def has_others(self, demand: Demand, node: str) -> bool:
        """Whether another node than this one could do such a job at all."""
        return any(len(group.node_states) > (node in group.node_states) for group in self.candidates(demand).groups)

    def pick(self, q: Question) -> NodeState | None:
        """The seat for this job, or None."""
        candidates = self.candidates(q.demand)
        if q.is_exclusive:
            return best(
                (node_state for node_state in candidates.free if passes(node_state, q) and not node_state.n_acquired), q
            )
        if len(candidates.free) > EXACT:
            found = best((node_state for node_state in candidates.sample(q) if passes(node_state, q)), q)
            if found:
                return found
        return best((node_state for node_state in candidates.free if passes(node_state, q)), q)

    def least_busy(self, q: Question) -> NodeState | None:
        """The seat that will be empty first, for a job that has to run alone."""
        node_states = self.candidates(q.demand).node_states()
        return best(
            (node_state for node_state in node_states if passes(node_state, q) and not node_state.reserved_for), q
        )
