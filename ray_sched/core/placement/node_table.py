"""The nodes as the Dispatcher sees them: as the pools' offers describe them.

An offer is complete for its pool, so it may be lost, repeated or late: one that is not newer than the last one of
its pool changes nothing, and a node that it leaves out is removed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.node_status import ENDED
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.speeds import UNLOADED_CLASS, SpeedBook
from ray_sched.core.queue.waiting import QueueKey


class RemovedNode(NamedTuple):
    """An incarnation of a node that is not in the table any more, and why."""

    node_state: NodeState
    why: str
    has_died: bool = False
    """The process of its agent ended."""


@dataclass(slots=True)
class TableChange:
    """What an offer has changed: the incarnations that are gone, and those that are new."""

    removed: list[RemovedNode] = field(default_factory=list)
    unknown_ended: list[RemovedNode] = field(default_factory=list)
    """Ended, and not in the table: an earlier life of the Dispatcher may have put jobs there. Named by each offer."""
    added: list[NodeState] = field(default_factory=list)
    changed: list[NodeState] = field(default_factory=list)
    """Why their slots are not leased has changed, or that they are."""


class NodeTable:
    """Every node by name, by pool and by what it can do."""

    def __init__(
        self,
        speeds: SpeedBook,
        queue_key_of: Callable[[Demand], QueueKey | None] = lambda _demand: None,
        demands: Callable[[], Iterable[Demand]] = tuple,
    ) -> None:
        self.by_node: dict[str, NodeState] = {}
        self.groups = Groups(queue_key_of, demands)
        self._speeds = speeds
        self._pools: dict[str, dict[str, NodeState]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        """Pool to the epoch and number of its last offer."""
        speeds.watch(self._set_speed_class)

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used."""
        return self.groups.n_leased

    def handle_offer(self, offer: PoolOffer, now_ms: int) -> TableChange:
        """Make the pool's nodes and their leases what the offer says."""
        change = TableChange()
        stamp = (offer.epoch, offer.number)
        if stamp <= self._stamps.get(offer.pool, (0, 0)):
            return change
        self._stamps[offer.pool] = stamp
        for node_offer in offer.nodes:
            self._handle_node(offer, node_offer, now_ms, change)
        named = {node_offer.node for node_offer in offer.nodes}
        left = [node_state for node_state in self.of_pool(offer.pool) if node_state.node not in named]
        change.removed += [self._remove(node_state, "the node left its pool") for node_state in left]
        return change

    def close_pool(self, pool: str) -> list[RemovedNode]:
        """Remove a pool's nodes. The stamp of its last offer stays, so that a late one brings none of them back."""
        return [self._remove(node_state, "its pool is closed") for node_state in self.of_pool(pool)]

    def of_pool(self, pool: str) -> list[NodeState]:
        """The nodes of one pool."""
        return list(self._pools.get(pool, {}).values())

    def _handle_node(self, offer: PoolOffer, node_offer: NodeOffer, now_ms: int, change: TableChange) -> None:
        node_state = self.by_node.get(node_offer.node)
        if node_state and node_offer.incarnation < node_state.incarnation:
            return
        if node_state and node_offer.incarnation > node_state.incarnation:
            change.removed.append(self._remove(node_state, "the node came back as a new incarnation"))
            node_state = None
        if node_offer.status in ENDED:
            because = f": {node_offer.because}" if node_offer.because else ""
            why = f"the node is {node_offer.status}{because}"
            if node_state:
                change.removed.append(self._remove(node_state, why, has_died=node_offer.has_died))
            else:
                ended = NodeState(node_offer.node, node_offer.incarnation, offer.capability)
                change.unknown_ended.append(RemovedNode(ended, why, node_offer.has_died))
            return
        if node_state is None:
            node_state = self._add(offer, node_offer)
            change.added.append(node_state)
        elif (node_state.pool, node_state.capability) != (offer.pool, offer.capability):
            self._leave_pool(node_state)
            self._join_pool(node_state, offer)
        if node_state.why is not node_offer.why and node_state not in change.added:
            change.changed.append(node_state)
        node_state.agent, node_state.total_slots = node_offer.agent, node_offer.total_slots
        node_state.why, node_state.because = node_offer.why, node_offer.because
        self._set_loads_in(node_state, node_offer.loads_in_ms)
        node_state.lease(node_offer.slots, now_ms + offer.term_ms)

    def _add(self, offer: PoolOffer, node_offer: NodeOffer) -> NodeState:
        node_state = NodeState(node_offer.node, node_offer.incarnation, offer.capability)
        node_state.speed_class = self._speeds.class_of(node_offer.node)
        if any(other.has_run for other in self.by_node.values()):
            node_state.begin_slowly()
        self.by_node[node_offer.node] = node_state
        self._join_pool(node_state, offer)
        return node_state

    def _remove(self, node_state: NodeState, why: str, *, has_died: bool = False) -> RemovedNode:
        self._leave_pool(node_state)
        del self.by_node[node_state.node]
        return RemovedNode(node_state, why, has_died)

    def _join_pool(self, node_state: NodeState, offer: PoolOffer) -> None:
        node_state.pool, node_state.capability = offer.pool, offer.capability
        self._pools.setdefault(offer.pool, {})[node_state.node] = node_state
        self.groups.add(node_state)

    def _leave_pool(self, node_state: NodeState) -> None:
        members = self._pools[node_state.pool]
        del members[node_state.node]
        if not members:
            del self._pools[node_state.pool]
        self.groups.remove(node_state)

    def _set_loads_in(self, node_state: NodeState, loads_in_ms: int) -> None:
        """Of many free nodes those whose model is unloaded are looked at last."""
        is_as_before = bool(loads_in_ms) == bool(node_state.loads_in_ms)
        node_state.loads_in_ms = loads_in_ms
        if not is_as_before:
            self._set_speed_class(node_state.node, self._speeds.class_of(node_state.node))

    def _set_speed_class(self, node: str, speed_class: int) -> None:
        node_state = self.by_node.get(node)
        if node_state:
            self.groups.set_speed_class(node_state, UNLOADED_CLASS if node_state.loads_in_ms else speed_class)
