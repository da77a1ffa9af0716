"""The node: one incarnation of it, and what heartbeats and other facts make of its state.

The states and what moves a node from one to another are in ``core.node_status``. That a node is silent, and to which
pool it belongs, is decided elsewhere, by ``health`` and ``membership``.
"""

from collections import deque

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Heartbeat, Load
from ray_sched.core.messages.registry_pool import MembersVersion, NodeView
from ray_sched.core.node_status import ENDED, NODE_TABLE, NodeEvent, NodeStatus
from ray_sched.core.nodes.declarations import Declaration
from ray_sched.core.nodes.drains import Drain

_BAD_OF_LAST_5 = 3
"""So many bad heartbeats of the last five degrade a node."""
_MAX_CAPABILITIES = 4
"""So often an incarnation may change what it offers: each time may open a pool, which is a process."""


class Node:
    """One incarnation of a node. Its attributes are read by others and changed by its own verbs only."""

    def __init__(
        self, declaration: Declaration, ray_node_id: str, incarnation: int, now_ms: int, *, is_restored: bool = False
    ) -> None:
        """``is_restored``: taken over from an earlier life of the Registry; its agent should be beating."""
        self.declaration = declaration
        self.ray_node_id = ray_node_id
        self.incarnation = incarnation
        self.started_at_ms = now_ms
        self.is_restored = is_restored
        self.status = NodeStatus.REGISTERING
        self.capability: Capability | None = None
        """What the engine really offers, once it is loaded."""
        self.pool = ""
        """The pool it is in, or was last in."""
        self.beat: Heartbeat | None = None
        """The last heartbeat."""
        self.why = ""
        """What is wrong with it, if something is; for people."""
        self.has_died = False
        """The node is lost because the process of its agent ended."""
        self.ended_at_ms = 0
        """When it was lost or gone."""
        self._drain: Drain | None = None
        self._last_beat_at_ms: int | None = None
        self._bad: deque[bool] = deque(maxlen=5)
        self._n_capabilities = 0

    # --- facts

    def move(self, event: NodeEvent) -> bool:
        """Change the status by the table. False, nothing changed, if there is no such row."""
        row = NODE_TABLE[self.status]
        if event not in row:
            return False
        self.status = row[event]
        return True

    def handle_heartbeat(self, beat: Heartbeat, now_ms: int) -> None:
        """Handle a heartbeat of its agent. A good beat of a loaded engine makes it ready, bad ones degrade it."""
        self._last_beat_at_ms = now_ms
        self.beat = beat
        self.why = beat.why
        if self._drain:
            self._drain.handle_heartbeat()
        if beat.capability:
            self._handle_capability(beat.capability)
        if not beat.is_healthy:
            self._count_bad_beat()
        elif beat.is_loaded:
            self._bad.append(False)
            self.move(NodeEvent.GOOD_BEAT)

    def _handle_capability(self, capability: Capability) -> None:
        if capability != self.capability and self._n_capabilities < _MAX_CAPABILITIES:
            self.capability = capability
            self._n_capabilities += 1

    def _count_bad_beat(self) -> None:
        self._bad.append(True)
        if sum(self._bad) >= _BAD_OF_LAST_5:
            self.move(NodeEvent.TOO_MANY_BAD_BEATS)

    def join(self, pool: str, capability: Capability) -> None:
        """Belong to this pool from now on, and have its capability."""
        self.pool, self.capability = pool, capability

    def begin_drain(self, ends_at_ms: int, version: MembersVersion) -> bool:
        """Begin to drain: no new work is given to the node. False, nothing changed, if it has ended.

        A second drain replaces the first.

        ``version``: of the first members message that notifies its pool of the drain.
        """
        if not self.move(NodeEvent.DRAIN):
            return False
        self._drain = Drain(ends_at_ms, version)
        return True

    def call_off_drain(self) -> bool:
        """Take new work again. False, nothing changed, if it does not drain.

        It registers again, which ends with its next good heartbeat.
        """
        if not self.move(NodeEvent.UNDRAIN):
            return False
        self._drain = None
        return True

    def handle_acquired(self, version: MembersVersion, n_acquired: int) -> None:
        """The Dispatcher has acquired so many of its slots, by a receipt that answers this members version."""
        if self._drain:
            self._drain.handle_acquired(version, n_acquired)

    def end_drain(self, now_ms: int) -> None:
        """Become GONE: the drain is over."""
        self.move(NodeEvent.EMPTY)
        self.ended_at_ms = now_ms

    def lose(self, event: NodeEvent, why: str, now_ms: int, *, has_died: bool) -> None:
        """Become LOST. ``event``: TOO_LONG_SILENT or DIED; ``has_died``: because its agent's process ended."""
        self.move(event)
        self.why = why
        self.ended_at_ms = now_ms
        self.has_died = has_died

    # --- questions

    @property
    def name(self) -> str:
        """Name of the node, the same for all incarnations."""
        return self.declaration.node

    @property
    def agent(self) -> str:
        """The name of the agent's actor."""
        return f"agent:{self.name}"

    @property
    def has_ended(self) -> bool:
        """Whether it is lost or gone: reports of its agent change nothing any more."""
        return self.status in ENDED

    @property
    def is_loading(self) -> bool:
        """Whether its agent has said that it loads its engine, and nothing since."""
        return self.status is NodeStatus.REGISTERING and self.beat is not None and not self.beat.is_loaded

    @property
    def has_beaten(self) -> bool:
        """Whether a heartbeat of it has arrived in this life of the Registry."""
        return self._last_beat_at_ms is not None

    def silent_ms(self, now_ms: int) -> int | None:
        """Since its last heartbeat; None before the first."""
        return None if self._last_beat_at_ms is None else now_ms - self._last_beat_at_ms

    @property
    def running(self) -> int:
        """Jobs that hold a slot, by the agent's last heartbeat."""
        return self.beat.running if self.beat else 0

    def has_drained(self, now_ms: int) -> bool:
        """Whether its drain is over: its deadline has passed, or it has no job, none on its way, no speech to fetch."""
        return self._drain is not None and (self._drain.is_due(now_ms) or self._is_empty(self._drain))

    def _is_empty(self, drain: Drain) -> bool:
        has_never_run = not self.has_beaten and not self.is_restored
        if has_never_run:
            return True
        has_speech = self.beat is not None and self.beat.speech_bytes > 0
        return not drain.may_have_jobs(is_in_pool=bool(self.pool)) and self.running == 0 and not has_speech

    def view(self) -> NodeView:
        """The node as its pool is notified of it."""
        beat = self.beat
        return NodeView(
            node=self.name,
            incarnation=self.incarnation,
            agent=self.agent,
            status=self.status,
            slots=self.declaration.slots,
            why=self.why,
            has_died=self.has_died,
            load=beat.load if beat else Load(),
            loads_in_ms=beat.loads_in_ms if beat else 0,
        )
