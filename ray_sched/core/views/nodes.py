"""Nodes and pools as people see them."""

from msgspec import Struct, field

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import GpuUse, Load
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.listing import LeftOut
from ray_sched.core.nodes.membership import RegisteredPool
from ray_sched.core.nodes.node import Node

READY = str(NodeStatus.READY)
LEFT_OUT = "left out"
"""Instead of a status: its labels are wrong, or its name is another node's."""


class NodeRow(Struct, frozen=True, kw_only=True):
    """One node in a list."""

    node: str
    status: str
    why: str
    """What is wrong with it, or what it does at the moment."""
    pool: str
    incarnation: int
    slots: int
    running: int
    """Jobs that hold a slot, by the agent's own count."""
    acquired: int = field(name="spent")
    """Slots with a job on them, by the Dispatcher's count; ``spent`` in JSON."""
    most_running: int
    accepted: int
    load: Load
    gpus: tuple[GpuUse, ...] = ()
    """Each GPU that the node may use."""
    capability: Capability
    audio_bytes: int
    speech_bytes: int
    silent_ms: int
    """Since the last heartbeat; -1 before the first."""
    loads_in_ms: int = 0
    """Its model is unloaded, or loads again: about how long a job that comes now waits for it; 0: not at all."""
    threshold: str = ""
    """Which threshold keeps new work from a node that is ready, with its value and limit; empty: none."""

    @classmethod
    def of(cls, node: Node, acquired: int, now_ms: int, threshold: str = "") -> "NodeRow":
        """The row of a node; ``acquired``: of its slots, by its pool's last answer."""
        beat = node.beat
        silent_ms = node.silent_ms(now_ms)
        return cls(
            node=node.name,
            status=str(node.status),
            why=node.why,
            pool=node.pool,
            incarnation=node.incarnation,
            slots=node.declaration.slots,
            running=node.running,
            acquired=acquired,
            most_running=beat.most_running if beat else 0,
            accepted=beat.accepted if beat else 0,
            load=beat.load if beat else Load(),
            gpus=beat.gpus if beat else (),
            capability=node.capability or node.declaration.capability,
            audio_bytes=beat.audio_bytes if beat else 0,
            speech_bytes=beat.speech_bytes if beat else 0,
            silent_ms=-1 if silent_ms is None else silent_ms,
            loads_in_ms=beat.loads_in_ms if beat else 0,
            threshold=threshold,
        )

    @classmethod
    def of_left_out(cls, left_out: LeftOut) -> "NodeRow":
        """The row of a Ray node that declares something and cannot join."""
        return cls(
            node=left_out.name,
            status=LEFT_OUT,
            why=left_out.why,
            pool="",
            incarnation=0,
            slots=0,
            running=0,
            acquired=0,
            most_running=0,
            accepted=0,
            load=Load(),
            capability=Capability(engine=left_out.engine),
            audio_bytes=0,
            speech_bytes=0,
            silent_ms=-1,
        )


def what_is_lacking(rows: list[NodeRow], n_nodes: int, waited_s: float) -> str:
    """Why there are not so many nodes that may be used, after so long, in a sentence."""
    ready = [row for row in rows if row.status == READY]
    over = [row for row in ready if row.threshold]
    if len(ready) < n_nodes:
        others = [f"; {row.node} is {row.status}{row.why and f': {row.why}'}" for row in rows if row.status != READY]
        return f"{len(ready)} of {n_nodes} nodes are ready after {waited_s:.0f} s{''.join(others)}"
    if over:
        may_be_used = len(ready) - len(over) or "none"
        whys = "; ".join(sorted({row.threshold for row in over}))
        nodes_are = "1 node is" if len(ready) == 1 else f"{len(ready)} nodes are"
        return f"{nodes_are} ready, {may_be_used} may be used: {whys}"
    return f"the nodes are ready, but their slots are not there after {waited_s:.0f} s"


class PoolRow(Struct, frozen=True, kw_only=True):
    """One pool in a list."""

    pool: str
    capability: Capability
    nodes: tuple[str, ...]
    slots: int
    running: int

    @classmethod
    def of(cls, pool: RegisteredPool) -> "PoolRow":
        """The row of a pool."""
        members = pool.members.values()
        return cls(
            pool=pool.name,
            capability=pool.capability,
            nodes=tuple(sorted(pool.members)),
            slots=sum(node.declaration.slots for node in members),
            running=sum(node.running for node in members),
        )
