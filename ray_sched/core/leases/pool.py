"""The Pool's brain: which slots of its nodes may be used, until when, and if none, why.

It is the only authority on these slots. The Registry notifies it of its members and how they are; it answers with an
offer to the Dispatcher: all leases, with their term. What an offer leaves out is revoked. It knows no job; the
Dispatcher's receipt for an offer says how many slots are acquired.
"""

from ray_sched.core.capability import Capability
from ray_sched.core.messages.fields import MAX_WHY
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, NodeOffer, PoolOffer
from ray_sched.core.messages.registry_pool import MembersVersion, NodeView, PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import PoolRules
from ray_sched.core.thresholds import reached

_WHY_NOT: dict[NodeStatus, Reason] = {
    NodeStatus.REGISTERING: Reason.NOT_READY,
    NodeStatus.DEGRADED: Reason.NOT_READY,
    NodeStatus.SUSPECT: Reason.NOT_READY,
    NodeStatus.LOST: Reason.NOT_READY,
    NodeStatus.GONE: Reason.NOT_READY,
    NodeStatus.DRAINING: Reason.DRAINING,
}


class PoolBrain:
    """Leases the slots of the nodes of one capability."""

    def __init__(self, name: str, epoch: int, rules: PoolRules) -> None:
        self.name = name
        self._epoch = epoch
        self._rules = rules
        self._members_version = MembersVersion(0, 0)
        self._number = 0
        self.capability: Capability | None = None
        self.nodes: dict[str, NodeView] = {}
        self.acquired = SlotsAcquired(epoch=0, number=0, slots={})
        """Slots with a job on them by the newest receipt, with the version of the members that it followed from."""
        self._version_of_offer: dict[int, MembersVersion] = {}
        """Number of an offer to the version of the members that it was made from, until its receipt comes."""

    def handle_members(self, members: PoolMembers) -> PoolOffer | None:
        """Replace the nodes by those of this message. Returns the offer that follows; None for an old message."""
        if members.version <= self._members_version:
            return None
        self._members_version = members.version
        self.capability = members.capability
        self.nodes = {view.node: view for view in members.nodes}
        return self.offer(members.capability)

    def handle_receipt(self, offer: PoolOffer, receipt: LeaseReceipt) -> None:
        """Take over what the Dispatcher has acquired as of this offer. A receipt that comes late changes nothing."""
        epoch, number = self._version_of_offer.get(offer.number, (0, 0))
        self._version_of_offer = {
            later: version for later, version in self._version_of_offer.items() if later > offer.number
        }
        if (epoch, number) > (self.acquired.epoch, self.acquired.number):
            self.acquired = SlotsAcquired(epoch=epoch, number=number, slots=receipt.acquired)

    def offer(self, capability: Capability) -> PoolOffer:
        """All leases of this pool as they are now."""
        self._number += 1
        self._version_of_offer[self._number] = self._members_version
        return PoolOffer(
            pool=self.name,
            epoch=self._epoch,
            number=self._number,
            capability=capability,
            term_ms=self._rules.lease_term_ms,
            nodes=tuple(self._lease(view) for view in self.nodes.values()),
        )

    def _lease(self, view: NodeView) -> NodeOffer:
        why = _WHY_NOT.get(view.status)
        over = "" if why else reached(view.load, self._rules)
        if over:
            why = Reason.RESOURCE_THRESHOLD
        return NodeOffer(
            node=view.node,
            incarnation=view.incarnation,
            agent=view.agent,
            status=view.status,
            slots=0 if why else view.slots,
            total_slots=view.slots,
            why=why,
            has_died=view.has_died,
            loads_in_ms=view.loads_in_ms,
            because=(over or view.why)[:MAX_WHY],
        )
