"""The nodes in the Dispatcher's eyes, as the pools' offers describe them.

An offer says everything about its pool, so it may be lost, repeated or late: one that is older than the last one of its
pool changes nothing, and what it leaves out is gone.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import Seat
from ray_sched.core.queue.waiting import Turn

_GONE = frozenset({"lost", "gone"})


class Lost(NamedTuple):
    """A seat that is not there any more, and why."""

    seat: Seat
    why: str
    has_died: bool = False
    """The process of its agent ended."""


class Seats:
    """Every seat by node, by pool and by what it can do."""

    def __init__(
        self,
        turn_of: Callable[[Demand], Turn | None] = lambda _demand: None,
        demands: Callable[[], Iterable[Demand]] = tuple,
    ) -> None:
        self.by_node: dict[str, Seat] = {}
        self.groups = Groups(turn_of, demands)
        self._pools: dict[str, dict[str, Seat]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used."""
        return self.groups.n_leased

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
        return list(self._pools.get(pool, {}).values())

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
                because = f": {node_offer.because}" if node_offer.because else ""
                gone = self._lose(seat, f"the node is {node_offer.status}{because}")
                lost.append(gone._replace(has_died=node_offer.has_died))
            return
        if seat is None:
            seat = self.by_node[node_offer.node] = Seat(node_offer.node, node_offer.incarnation, offer.capability)
            self._place(seat, offer)
            new.append(seat)
        elif (seat.pool, seat.capability) != (offer.pool, offer.capability):
            self._displace(seat)
            self._place(seat, offer)
        seat.agent, seat.status = node_offer.agent, node_offer.status
        seat.total_slots, seat.load, seat.why = node_offer.total_slots, node_offer.load, node_offer.why
        seat.lease(node_offer.slots, now_ms + offer.term_ms)

    def _place(self, seat: Seat, offer: PoolOffer) -> None:
        seat.pool, seat.capability = offer.pool, offer.capability
        self._pools.setdefault(offer.pool, {})[seat.node] = seat
        self.groups.add(seat)

    def _displace(self, seat: Seat) -> None:
        mates = self._pools[seat.pool]
        del mates[seat.node]
        if not mates:
            del self._pools[seat.pool]
        self.groups.remove(seat)

    def _lose(self, seat: Seat, why: str) -> Lost:
        self._displace(seat)
        del self.by_node[seat.node]
        return Lost(seat, why)
