"""What the Registry's brain answers: agents and pools to start and to end, and what pools have to know.

Its facts are calls of its methods. Its shell performs the effects in this order: what is to be saved, in one commit;
then the others, in their order.
"""

from msgspec import Struct

from ray_sched.core.capability import Capability, Offer
from ray_sched.core.effects import Log, Save
from ray_sched.core.messages.registry_pool import PoolMembers
from ray_sched.core.nodes.declarations import Held


class SpawnAgent(Struct, frozen=True, kw_only=True):
    """Start the agent of a node there, and watch it. Its end, or a failure to start it, comes back as ``agent_died``.

    The agent itself is made from this, so it crosses processes.
    """

    node: str
    incarnation: int
    agent: str
    """Name of its actor."""
    ray_node_id: str
    """Where: this machine and no other."""
    slots: int
    engine: str
    options: dict[str, str]
    """The engine's own."""
    held: Held = Held()
    declared: Capability
    """What the labels say; the engine may refine it with what is really installed."""
    offer: Offer = Offer()
    """What the node offers of that."""


class ReadProfile(Struct, frozen=True, kw_only=True):
    """Read a profile in the file on that Ray node. It comes back as ``profile_read`` or ``profile_failed``."""

    ray_node_id: str
    profile: str


class WatchAgent(Struct, frozen=True):
    """Watch an agent that an earlier life of the Registry started: its end comes back as ``agent_died``."""

    node: str
    incarnation: int
    agent: str


class StopAgent(Struct, frozen=True):
    """End the process of an agent, whatever it is doing; nothing happens if there is none."""

    agent: str


class OpenPool(Struct, frozen=True):
    """Start the actor of a pool, unless it outlived the Registry that opened it."""

    pool: str


class ClosePool(Struct, frozen=True):
    """End the actor of a pool that has no nodes, and tell the Dispatcher so."""

    pool: str


class NotifyPool(Struct, frozen=True):
    """Tell a pool who belongs to it. A newer message to the same pool replaces one that was not sent yet."""

    members: PoolMembers


RegistryEffect = SpawnAgent | ReadProfile | WatchAgent | StopAgent | OpenPool | ClosePool | NotifyPool | Save | Log
