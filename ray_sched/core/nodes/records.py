"""Records of nodes: what the store keeps of each, and how a restarted Registry reads it back.

The newest record of every node is remembered, so that a store that was emptied can be filled again, and so that
incarnations go on counting.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from ray_sched.core.capability import Capability
from ray_sched.core.effects import Save
from ray_sched.core.messages.fields import Count, Text
from ray_sched.core.nodes.declarations import Declaration
from ray_sched.core.ports import ForgetNode, SaveNode
from ray_sched.core.records import ReadBack, read_back

_encode = msgspec.json.Encoder().encode


class NodeRecord(Struct, frozen=True, kw_only=True):
    """What the store keeps of a node, so that a restarted Registry goes on counting incarnations."""

    declaration: Declaration
    ray_node_id: str
    incarnation: Count
    is_drained: bool
    capability: Capability | None = None
    """What the engine really offers, once it has said so."""
    pool: Text = ""
    """The pool it is in; empty before its first heartbeat and once its drain has ended."""


def read_nodes(records: Iterable[bytes]) -> ReadBack[NodeRecord]:
    """The nodes that these records describe; those that cannot be read are counted and left where they are."""
    return read_back(records, msgspec.json.Decoder(NodeRecord).decode)


class SavedNodes:
    """The newest record of each node, by name: what the store holds, or will when the effects are performed."""

    def __init__(self) -> None:
        self._records: dict[str, NodeRecord] = {}

    def restore(self, record: NodeRecord) -> None:
        """The store holds this."""
        self._records[record.declaration.node] = record

    def save(self, record: NodeRecord) -> Save:
        """Replace the node's record by this one."""
        self._records[record.declaration.node] = record
        return _saving(record)

    def undrain(self, name: str) -> list[Save]:
        """The node's machine may be used again."""
        record = self._records.get(name)
        return [self.save(msgspec.structs.replace(record, is_drained=False))] if record else []

    def save_all(self) -> list[Save]:
        """Write every record again: the store has lost them."""
        return [_saving(record) for record in self._records.values()]

    def next_incarnation(self, name: str) -> int:
        """The number of the node's next incarnation: 1 for one that is not known."""
        record = self._records.get(name)
        return record.incarnation + 1 if record else 1

    def forget(self, name: str, ray_node_id: str) -> list[Save]:
        """Forget the node on this machine. The record of another machine under its name stays."""
        record = self._records.get(name)
        if record is None or record.ray_node_id != ray_node_id:
            return []
        del self._records[name]
        return [Save(ForgetNode(node_id=name))]


def _saving(record: NodeRecord) -> Save:
    return Save(SaveNode(node_id=record.declaration.node, record=_encode(record)))
