"""NodeRegistry and Pool: who belongs to a pool, and how its nodes are."""

from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.messages.fields import MAX_NODES, AudioMs, Count, Key, LongText, Message, Slots, Text
from ray_sched.core.node_status import NodeStatus


class NodeView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node as the Registry sees it at this moment."""

    node: Text
    incarnation: Count
    agent: Text
    status: NodeStatus
    slots: Slots
    load: Load = Load()
    loads_in_ms: AudioMs = 0
    """As its heartbeat says."""
    why: LongText = ""
    has_died: bool = False
    """The node is lost because the process of its agent ended."""


class MembersVersion(NamedTuple):
    """Orders the Registry's messages to its pools: a greater one is newer."""

    epoch: int
    """Start time of the Registry."""
    number: int
    """Of the message, counted over all pools."""


class PoolMembers(Message, frozen=True, kw_only=True):
    """The Registry tells a Pool who belongs to it: everything, at every change and four times a second."""

    pool: Text
    key: Key = b""
    epoch: Count
    """Start time of the Registry; with ``number`` it orders these messages."""
    number: Count
    capability: Capability
    nodes: Annotated[tuple[NodeView, ...], Meta(max_length=MAX_NODES)]

    @property
    def version(self) -> MembersVersion:
        """Which of two such messages is the newer one."""
        return MembersVersion(self.epoch, self.number)


class SlotsAcquired(Message, frozen=True, kw_only=True):
    """A Pool answers PoolMembers: how many slots of each node have a job on them, by the Dispatcher's last receipt.

    ``epoch`` and ``number`` name the newest PoolMembers whose offer that receipt answers;
    both are 0 before there is one.
    """

    epoch: Count
    number: Count
    slots: dict[str, int]
    """Node to slots with a job on them."""

    @property
    def version(self) -> MembersVersion:
        """Of the members that this answers for."""
        return MembersVersion(self.epoch, self.number)
