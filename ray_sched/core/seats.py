"""The nodes in the Dispatcher's eyes, as the pools' offers describe them.

An offer says everything about its pool, so it may be lost, repeated or late: one that is older than the last one of its
pool changes nothing, and what it leaves out is gone.
"""

from typing import NamedTuple

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.messages import NodeOffer, PoolOffer
from ray_sched.core.selection import Seat

_GONE = frozenset({"lost", "gone"})


class Lost(NamedTuple):
    """A seat that is not there any more, and why."""

    seat: Seat
    why: str


class Seats:
    """Every seat by node, and which of them can do what."""

    def __init__(self) -> None:
        self.by_node: dict[str, Seat] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._able: dict[Demand, list[Seat]] = {}

    def take(self, offer: PoolOffer, now_ms: int) -> tuple[list[Lost], list[Seat]]:
        """Take over what a pool says of its nodes. Returns the seats lost by it, and the new ones."""
        stamp = (offer.epoch, offer.number)
        if stamp <= self._stamps.get(offer.pool, (0, 0)):
            return [], []
        self._stamps[offer.pool] = stamp
        lost: list[Lost] = []
        new: list[Seat] = []
        for node_offer in offer.nodes:
            self._take_node(offer, node_offer, now_ms, lost, new)
        named = {node_offer.node for node_offer in offer.nodes}
        left = [seat for seat in self.of_pool(offer.pool) if seat.node not in named]
        return lost + [self._lose(seat, "the node left its pool") for seat in left], new

    def close_pool(self, pool: str) -> list[Lost]:
        """Its nodes are lost. The stamp of its last offer stays, so that one still under way brings nothing back."""
        return [self._lose(seat, "its pool is closed") for seat in self.of_pool(pool)]

    def of_pool(self, pool: str) -> list[Seat]:
        """The seats of one pool."""
        return [seat for seat in self.by_node.values() if seat.pool == pool]

    def able(self, demand: Demand) -> list[Seat]:
        """The seats that could do such a job at all; remembered until a node comes, goes or changes."""
        if demand not in self._able:
            self._able[demand] = [seat for seat in self.by_node.values() if uncovered(demand, seat.capability) is None]
        return self._able[demand]

    def _take_node(
        self, offer: PoolOffer, node_offer: NodeOffer, now_ms: int, lost: list[Lost], new: list[Seat]
    ) -> None:
        seat = self.by_node.get(node_offer.node)
        if seat and node_offer.incarnation < seat.incarnation:
            return
        if seat and node_offer.incarnation > seat.incarnation:
            lost.append(self._lose(seat, "the node came back as a new incarnation"))
            seat = None
        if node_offer.status in _GONE:
            if seat:
                lost.append(self._lose(seat, f"the node is {node_offer.status}"))
            return
        if seat is None:
            seat = self._add(node_offer, offer.capability)
            new.append(seat)
        if seat.capability != offer.capability:
            seat.capability = offer.capability
            self._able.clear()
        seat.pool, seat.agent, seat.status = offer.pool, node_offer.agent, node_offer.status
        seat.total_slots, seat.load, seat.why = node_offer.total_slots, node_offer.load, node_offer.why
        seat.lease(node_offer.slots, now_ms + offer.term_ms)

    def _add(self, node_offer: NodeOffer, capability: Capability) -> Seat:
        self._able.clear()
        seat = self.by_node[node_offer.node] = Seat(node_offer.node, node_offer.incarnation, capability)
        return seat

    def _lose(self, seat: Seat, why: str) -> Lost:
        self._able.clear()
        del self.by_node[seat.node]
        return Lost(seat, why)
