"""The node: its states and the heartbeats that move it.

A node registers, becomes ready with its first good heartbeat, and is suspect, then lost, when heartbeats stop.
Degraded nodes beat but say that something is wrong. A node that comes back after being lost is a new incarnation with
a state of its own; messages of an old incarnation are ignored.
"""

from collections import deque

from msgspec import Struct

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.fields import Count, Slots, Text
from ray_sched.core.node_status import NODE_TABLE, NodeEvent, NodeStatus

_BAD_IN_A_ROW = 3
_BAD_OF_LAST_5 = 3
_BEATS_TO_BE_EMPTY = 2
_MAX_CAPABILITIES = 4
"""So often an incarnation may change what it offers: each time may open a pool, which is a process."""


class Declaration(Struct, frozen=True, kw_only=True):
    """What a node's labels say of it."""

    node: Text
    engine: str
    capability: Capability
    slots: Slots
    options: dict[str, str] = {}
    """The engine's own options."""


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


class Node:
    """One incarnation of a node."""

    def __init__(self, declaration: Declaration, ray_node_id: str, incarnation: int, now_ms: int) -> None:
        self.declaration = declaration
        self.ray_node_id = ray_node_id
        self.incarnation = incarnation
        self.status = NodeStatus.REGISTERING
        self.capability: Capability | None = None
        """What the engine really offers, once it is loaded."""
        self.pool = ""
        self.started_at_ms = now_ms
        self.is_restored = False
        """Taken over from an earlier life of the Registry: its agent should be beating."""
        self.last_beat_at_ms = 0
        self.drain_ends_at_ms = 0
        self.beats_since_drain = 0
        self.drain_version = (0, 0)
        """Epoch and number of the first word to its pool since the drain began."""
        self.may_have_jobs = True
        """The Dispatcher may have jobs on it, or on their way to it: until it knows of the drain and says no."""
        self.gone_at_ms = 0
        self.has_died = False
        """It is lost because the process of its agent ended."""
        self.beat: Heartbeat | None = None
        self.why = ""
        self._bad: deque[bool] = deque(maxlen=5)
        self._bad_in_a_row = 0
        self._n_capabilities = 0

    def move(self, event: NodeEvent) -> bool:
        """Change the status by the table. False, nothing changed, if there is no such row."""
        row = NODE_TABLE[self.status]
        if event not in row:
            return False
        self.status = row[event]
        return True

    def handle(self, beat: Heartbeat, now_ms: int) -> None:
        """Take a heartbeat in. A good one says: loaded and healthy."""
        self.last_beat_at_ms = now_ms
        self.beat = beat
        self.beats_since_drain += self.status is NodeStatus.DRAINING
        self.why = beat.why
        if beat.capability:
            self._handle_capability(beat.capability)
        if not beat.is_healthy:
            self._count_bad_beat()
        elif beat.is_loaded:
            self._bad.append(False)
            self._bad_in_a_row = 0
            self.move(NodeEvent.GOOD_BEAT)

    def _handle_capability(self, capability: Capability) -> None:
        if capability != self.capability and self._n_capabilities < _MAX_CAPABILITIES:
            self.capability = capability
            self._n_capabilities += 1

    def _count_bad_beat(self) -> None:
        self._bad.append(True)
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= _BAD_IN_A_ROW or sum(self._bad) >= _BAD_OF_LAST_5:
            self.move(NodeEvent.TOO_MANY_BAD_BEATS)

    @property
    def running(self) -> int:
        """Jobs that hold a slot, by the agent's last heartbeat."""
        return self.beat.running if self.beat else 0

    @property
    def is_empty(self) -> bool:
        """Whether a draining node has no job, nor one on its way, nor speech that waits to be fetched."""
        has_never_run = not self.last_beat_at_ms and not self.is_restored
        if has_never_run:
            return True
        is_free = not self.may_have_jobs or not self.pool  # who was in no pool was never given a job
        has_speech = self.beat is not None and self.beat.speech_bytes > 0
        return is_free and self.beats_since_drain >= _BEATS_TO_BE_EMPTY and self.running == 0 and not has_speech

    @property
    def agent(self) -> str:
        """The name of the agent's actor."""
        return f"agent:{self.declaration.node}"
