"""The states of a node, and what moves it from one to another.

A node registers, becomes ready with its first good heartbeat, and is suspect, then lost, when heartbeats stop.
Degraded nodes beat but report that something is wrong. A node that comes back after being lost is a new incarnation
with a state of its own; messages of an old incarnation are ignored.
"""

from enum import StrEnum, auto


class NodeStatus(StrEnum):
    """How a node is."""

    REGISTERING = auto()
    READY = auto()
    DEGRADED = auto()
    SUSPECT = auto()
    DRAINING = auto()
    LOST = auto()
    GONE = auto()


class NodeEvent(StrEnum):
    """What happens to a node."""

    GOOD_BEAT = auto()
    TOO_MANY_BAD_BEATS = auto()
    SILENT = auto()
    TOO_LONG_SILENT = auto()
    DIED = auto()
    DRAIN = auto()
    UNDRAIN = auto()
    EMPTY = auto()


_DEATH = {NodeEvent.TOO_LONG_SILENT: NodeStatus.LOST, NodeEvent.DIED: NodeStatus.LOST}


NODE_TABLE: dict[NodeStatus, dict[NodeEvent, NodeStatus]] = {
    NodeStatus.REGISTERING: {
        NodeEvent.GOOD_BEAT: NodeStatus.READY,
        NodeEvent.TOO_MANY_BAD_BEATS: NodeStatus.DEGRADED,
        NodeEvent.DRAIN: NodeStatus.DRAINING,
        **_DEATH,
    },
    NodeStatus.READY: {
        NodeEvent.GOOD_BEAT: NodeStatus.READY,
        NodeEvent.TOO_MANY_BAD_BEATS: NodeStatus.DEGRADED,
        NodeEvent.SILENT: NodeStatus.SUSPECT,
        NodeEvent.DRAIN: NodeStatus.DRAINING,
        **_DEATH,
    },
    NodeStatus.DEGRADED: {
        NodeEvent.GOOD_BEAT: NodeStatus.READY,
        NodeEvent.TOO_MANY_BAD_BEATS: NodeStatus.DEGRADED,
        NodeEvent.SILENT: NodeStatus.SUSPECT,
        NodeEvent.DRAIN: NodeStatus.DRAINING,
        **_DEATH,
    },
    NodeStatus.SUSPECT: {
        NodeEvent.GOOD_BEAT: NodeStatus.READY,
        NodeEvent.TOO_MANY_BAD_BEATS: NodeStatus.DEGRADED,
        NodeEvent.DRAIN: NodeStatus.DRAINING,
        **_DEATH,
    },
    NodeStatus.DRAINING: {
        NodeEvent.GOOD_BEAT: NodeStatus.DRAINING,
        NodeEvent.TOO_MANY_BAD_BEATS: NodeStatus.DRAINING,
        NodeEvent.SILENT: NodeStatus.DRAINING,
        NodeEvent.DRAIN: NodeStatus.DRAINING,
        NodeEvent.UNDRAIN: NodeStatus.REGISTERING,
        NodeEvent.EMPTY: NodeStatus.GONE,
        **_DEATH,
    },
    NodeStatus.LOST: {},
    NodeStatus.GONE: {},
}

ENDED = frozenset(status for status, row in NODE_TABLE.items() if not row)
"""Lost or gone: this incarnation never changes again."""
