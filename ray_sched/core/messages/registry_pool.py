"""NodeRegistry and Pool: who belongs to a pool, and how its nodes are."""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.messages.fields import MAX_NODES, Count, LongText, Message, Slots, Text


class NodeView(Struct, frozen=True, kw_only=True):
    """A node as the Registry sees it at this moment."""

    node: Text
    incarnation: Count
    agent: Text
    status: Text
    slots: Slots
    load: Load = Load()
    running: Count = 0
    why: LongText = ""
    has_died: bool = False
    """It is lost because the process of its agent ended."""


class PoolMembers(Message, frozen=True, kw_only=True):
    """The Registry tells a Pool who belongs to it: everything, at every change and four times a second."""

    pool: Text
    epoch: Count
    """Start time of the Registry; with ``number`` it orders these messages."""
    number: Count
    capability: Capability
    nodes: Annotated[tuple[NodeView, ...], Meta(max_length=MAX_NODES)]


class SlotsAcquired(Message, frozen=True, kw_only=True):
    """A Pool answers the Registry: slots with a job on them, as the Dispatcher said when it knew this word of yours."""

    epoch: Count
    number: Count
    spent: dict[str, int]
