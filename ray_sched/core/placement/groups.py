"""Groups: nodes of equal capability, and which demand is next among those for which a slot is free.

Demands that the same groups can serve share their candidates: one set of free nodes, one queue of those who wait. So
an assignment costs the same with one pool as with fifty. A slot that becomes free, or full, is noted with each of the
candidates that its node belongs to: as many as there are kinds of demands that its group serves together with
different others, mostly one or two.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.placement.candidates import Candidates, Group
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.queue.priority_queue import PriorityQueue
from ray_sched.core.queue.waiting import QueueKey

_REMEMBERED_DEMANDS = 4_096


class Groups:
    """All groups, the candidates for each demand, and the demand that is next of those for which a slot is free."""

    def __init__(
        self, queue_key_of: Callable[[Demand], QueueKey | None], demands: Callable[[], Iterable[Demand]]
    ) -> None:
        self._queue_key_of = queue_key_of
        self._demands = demands
        self.n_leased = 0
        """Slots of all nodes that may be used."""
        self._leased: dict[str, int] = {}
        self._has_free: set[str] = set()
        self._groups: dict[Capability, Group] = {}
        self._of_groups: dict[tuple[Group, ...], Candidates] = {}
        self._of_demand: dict[Demand, Candidates] = {}
        self._next: PriorityQueue[QueueKey, Candidates] = PriorityQueue(Candidates.queue_key)

    def add(self, node_state: NodeState) -> None:
        """A node joins the group of its capability."""
        group = self._groups.get(node_state.capability)
        if group is None:
            group = self._groups[node_state.capability] = Group(node_state.capability)
            self._rebuild_candidates()
        group.node_states[node_state.node] = node_state
        node_state.watch(partial(self._note, group))
        self._note(group, node_state)

    def remove(self, node_state: NodeState) -> None:
        """A node leaves its group; an empty group is forgotten."""
        group = self._groups[node_state.capability]
        node_state.watch(None)
        self.n_leased -= self._leased.pop(node_state.node)
        self._set_free(group, node_state, is_free=False)
        del group.node_states[node_state.node]
        if not group.node_states:
            del self._groups[node_state.capability]
            self._rebuild_candidates()

    def nodes(self) -> Iterator[NodeState]:
        """All nodes of all groups."""
        return (node_state for group in self._groups.values() for node_state in group.node_states.values())

    def set_speed_class(self, node_state: NodeState, speed_class: int) -> None:
        """A node has turned out to be faster or slower than was thought."""
        group = self._groups[node_state.capability]
        is_free = node_state.node in self._has_free
        self._set_free(group, node_state, is_free=False)
        node_state.speed_class = speed_class
        self._set_free(group, node_state, is_free=is_free)

    def _note(self, group: Group, node_state: NodeState) -> None:
        """The leases of a node may have changed."""
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

    def _rebuild_candidates(self) -> None:
        """A group has come or gone: other groups serve the demands now."""
        self._next.clear()
        self._of_groups.clear()
        self._of_demand.clear()
        for group in self._groups.values():
            group.candidates.clear()
        for demand in self._demands():
            self.enqueue(demand)

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
            found = self._of_groups[groups] = Candidates(groups, self._queue_key_of, self.nodes)
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

    def enqueue(self, demand: Demand) -> None:
        """A job of this demand waits, perhaps with a smaller queue key than those before."""
        candidates = self.candidates(demand)
        if candidates.groups and candidates.demands.enqueue(demand):
            self._next.enqueue(candidates)

    def skip(self, demand: Demand) -> None:
        """None of the free slots is for this demand's next jobs. It is skipped until it is enqueued again."""
        self.candidates(demand).demands.remove(demand)

    def next_demand(self) -> Demand | None:
        """The demand that is next, among those for which a slot is free."""
        found = self._next.head()
        return found[1].demands.last_head() if found else None

    def is_served(self, demand: Demand) -> bool:
        """Whether any node could do such a job at all."""
        return bool(self.candidates(demand).groups)
