"""The nodes in the Dispatcher's eyes, as the pools' offers describe them.

An offer says everything about its pool, so it may be lost, repeated or late: one that is older than the last one of its
pool changes nothing, and what it leaves out is gone.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.queue.waiting import QueueKey

_GONE = frozenset({"lost", "gone"})


class Lost(NamedTuple):
    """A seat that is not there any more, and why."""

    node_state: NodeState
    why: str
    has_died: bool = False
    """The process of its agent ended."""


class NodeTable:
    """Every seat by node, by pool and by what it can do."""

    def __init__(
        self,
        queue_key_of: Callable[[Demand], QueueKey | None] = lambda _demand: None,
        demands: Callable[[], Iterable[Demand]] = tuple,
    ) -> None:
        self.by_node: dict[str, NodeState] = {}
        self.groups = Groups(queue_key_of, demands)
        self._pools: dict[str, dict[str, NodeState]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used."""
        return self.groups.n_leased

    def take(self, offer: PoolOffer, now_ms: int) -> tuple[list[Lost], list[NodeState]]:
        """Take over what a pool says of its nodes. Returns the seats lost by it, and the new ones."""
        stamp = (offer.epoch, offer.number)
        if stamp <= self._stamps.get(offer.pool, (0, 0)):
            return [], []
        self._stamps[offer.pool] = stamp
        lost: list[Lost] = []
        new: list[NodeState] = []
        for node_offer in offer.nodes:
            self._take_node(offer, node_offer, now_ms, lost, new)
        named = {node_offer.node for node_offer in offer.nodes}
        left = [node_state for node_state in self.of_pool(offer.pool) if node_state.node not in named]
        return lost + [self._lose(node_state, "the node left its pool") for node_state in left], new

    def close_pool(self, pool: str) -> list[Lost]:
        """Its nodes are lost. The stamp of its last offer stays, so that one still under way brings nothing back."""
        return [self._lose(node_state, "its pool is closed") for node_state in self.of_pool(pool)]

    def of_pool(self, pool: str) -> list[NodeState]:
        """The seats of one pool."""
        return list(self._pools.get(pool, {}).values())

    def _take_node(
        self, offer: PoolOffer, node_offer: NodeOffer, now_ms: int, lost: list[Lost], new: list[NodeState]
    ) -> None:
        node_state = self.by_node.get(node_offer.node)
        if node_state and node_offer.incarnation < node_state.incarnation:
            return
        if node_state and node_offer.incarnation > node_state.incarnation:
            lost.append(self._lose(node_state, "the node came back as a new incarnation"))
            node_state = None
        if node_offer.status in _GONE:
            if node_state:
                because = f": {node_offer.because}" if node_offer.because else ""
                gone = self._lose(node_state, f"the node is {node_offer.status}{because}")
                lost.append(gone._replace(has_died=node_offer.has_died))
            return
        if node_state is None:
            node_state = self.by_node[node_offer.node] = NodeState(
                node_offer.node, node_offer.incarnation, offer.capability
            )
            self._place(node_state, offer)
            new.append(node_state)
        elif (node_state.pool, node_state.capability) != (offer.pool, offer.capability):
            self._displace(node_state)
            self._place(node_state, offer)
        node_state.agent, node_state.status = node_offer.agent, node_offer.status
        node_state.total_slots, node_state.load, node_state.why = (
            node_offer.total_slots,
            node_offer.load,
            node_offer.why,
        )
        node_state.lease(node_offer.slots, now_ms + offer.term_ms)

    def _place(self, node_state: NodeState, offer: PoolOffer) -> None:
        node_state.pool, node_state.capability = offer.pool, offer.capability
        self._pools.setdefault(offer.pool, {})[node_state.node] = node_state
        self.groups.add(node_state)

    def _displace(self, node_state: NodeState) -> None:
        mates = self._pools[node_state.pool]
        del mates[node_state.node]
        if not mates:
            del self._pools[node_state.pool]
        self.groups.remove(node_state)

    def _lose(self, node_state: NodeState, why: str) -> Lost:
        self._displace(node_state)
        del self.by_node[node_state.node]
        return Lost(node_state, why)
