"""Pool and Dispatcher: leases, and what has become of them."""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.fields import MAX_NODES, AudioMs, Count, Key, Message, Slots, Text, Why
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.reasons import Reason


class NodeOffer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a Pool offers of one node: the slots that the Dispatcher may use until the term ends; if none, why."""

    node: Text
    incarnation: Count
    agent: Text
    status: NodeStatus
    """LOST and GONE remove the node; in all others only ``slots`` counts."""
    slots: Slots
    """Slots leased: numbers 0 to ``slots`` - 1. 0 when ``why`` is given."""
    total_slots: Slots
    why: Reason | None = None
    has_died: bool = False
    """The node is lost because the process of its agent ended."""
    loads_in_ms: AudioMs = 0
    """Its model is unloaded, or loads again: about how long a job that comes now waits for it; 0: not at all."""
    because: Why = ""
    """What the Registry reports of a node that is not well, or which threshold it has reached."""


class PoolOffer(Message, frozen=True, kw_only=True):
    """A Pool leases its nodes' slots to the Dispatcher: everything, at every change and four times a second.

    A node or slot that an offer leaves out is revoked; what is acquired ends with its job. Answered by LeaseReceipt.
    """

    pool: Text
    key: Key = b""
    epoch: Count
    number: Count
    capability: Capability
    term_ms: Count
    nodes: Annotated[tuple[NodeOffer, ...], Meta(max_length=MAX_NODES)]


class LeaseReceipt(Message, frozen=True, kw_only=True):
    """The Dispatcher answers an offer: how many slots of each node it has acquired."""

    acquired: dict[str, int]
    """Node to slots with a job on them."""
