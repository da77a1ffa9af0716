"""Candidates: the nodes that can serve certain demands, and at once those of them that have a free slot.

Of many free nodes a job looks at a few only, so that an assignment costs the same with three nodes as with a thousand.
Which few is what the speed classes are for: the fastest free nodes are found without looking at the others.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import copy

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question, tie_number
from ray_sched.core.placement.speeds import UNKNOWN_CLASS
from ray_sched.core.queue.priority_queue import PriorityQueue
from ray_sched.core.queue.waiting import QueueKey

EXACT = 16
"""Up to so many free nodes a job looks at all of them."""
SAMPLE = 8
"""Among more it looks at so many, of its session's own node and of the one it may be colocated on."""


class Group:
    """The nodes of one capability."""

    def __init__(self, capability: Capability) -> None:
        self.capability = capability
        self.node_states: dict[str, NodeState] = {}
        self.candidates: list[Candidates] = []
        """The candidates that this group is part of."""


class Candidates:
    """The groups that can serve certain demands, their free nodes, and which of these demands wait."""

    def __init__(
        self,
        groups: tuple[Group, ...],
        queue_key_of: Callable[[Demand], QueueKey | None],
        all_nodes: Callable[[], Iterable[NodeState]],
    ) -> None:
        self.groups = groups
        self.demands: PriorityQueue[QueueKey, Demand] = PriorityQueue(queue_key_of)
        self.all_nodes = all_nodes
        """Every node there is, also those that cannot serve these demands."""
        self._place: dict[str, tuple[int, int]] = {}
        """Free node to its speed class and its index in it."""
        self._free: dict[int, list[NodeState]] = {}
        """Speed class to the free nodes in it, at least one."""
        for group in groups:
            group.candidates.append(self)
            for node_state in group.node_states.values():
                if node_state.n_free:
                    self.add_free(node_state)

    def add_free(self, node_state: NodeState) -> None:
        """A node has a free slot now."""
        nodes = self._free.setdefault(node_state.speed_class, [])
        self._place[node_state.node] = (node_state.speed_class, len(nodes))
        nodes.append(node_state)

    def remove_free(self, node_state: NodeState) -> None:
        """A node has no free slot any more."""
        speed_class, index = self._place.pop(node_state.node)
        nodes = self._free[speed_class]
        last = nodes.pop()
        if last is not node_state:
            nodes[index] = last
            self._place[last.node] = (speed_class, index)
        elif not nodes:
            del self._free[speed_class]

    def queue_key(self) -> QueueKey | None:
        """The key of the first of these demands, None as long as there is no slot for it."""
        head = self.demands.head() if self._place else None
        return head[0] if head else None

    def nodes(self) -> Iterator[NodeState]:
        """The nodes that can serve these demands, free or not."""
        return (node_state for group in self.groups for node_state in group.node_states.values())

    def has_others(self, node: str) -> bool:
        """Whether another node than this one could serve these demands at all."""
        return any(len(group.node_states) > (node in group.node_states) for group in self.groups)

    def but_only(self, node_states: Iterable[NodeState], *, has_free: bool = True) -> "Candidates":
        """The same, as they would be if these were all nodes there are; without ``has_free`` as if all were full.

        For who asks a policy what it thinks of a few nodes, or of nodes as they might be. It does not follow changes.
        """
        few = copy(self)
        shown = list(node_states)
        vars(few).update(all_nodes=lambda: shown, _place={}, _free={})
        for node_state in shown:
            if has_free and node_state.n_free:
                few.add_free(node_state)
        return few

    def free(self) -> Iterator[NodeState]:
        """The nodes with a free slot."""
        return (node_state for nodes in self._free.values() for node_state in nodes)

    @property
    def has_many_free(self) -> bool:
        """Whether a job should look at a sample of the free nodes only."""
        return len(self._place) > EXACT

    def sample(self, q: Question) -> Iterator[NodeState]:
        """The session's own node, the one for colocation and a few others of the fastest, if they are free.

        Half of those few are nodes of unknown speed, as long as there are any: nobody would get to know them else.
        All are different. Within a class a stride walks evenly from a place that the attempt's name decides.
        """
        named = dict.fromkeys(node for node in (q.affine_node, q.colocated_node) if node in self._place)
        for node in named:
            speed_class, index = self._place[node]
            yield self._free[speed_class][index]
        begin, left = tie_number(q), SAMPLE
        for speed_class in sorted(self._free, reverse=True):
            nodes = self._free[speed_class]
            is_half = speed_class == UNKNOWN_CLASS and len(self._free) > 1
            n_seen = min(left // 2 if is_half else left, len(nodes))
            stride = len(nodes) // n_seen
            for n in range(n_seen):
                node_state = nodes[(begin + n * stride) % len(nodes)]
                if node_state.node not in named:
                    yield node_state
            left -= n_seen
            if not left:
                return
