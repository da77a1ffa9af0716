"""Health: what a node's silence means, and when an agent is started again on a node that lost one."""

from typing import NamedTuple

from ray_sched.core.node_status import NodeEvent, NodeStatus
from ray_sched.core.nodes.node import Node
from ray_sched.core.rules import NodeRules
from ray_sched.core.units import shown_ms

_MAX_RESPAWN_DELAY_MS = 30_000


class Verdict(NamedTuple):
    """What a node's silence leads to: SILENT makes it suspect, TOO_LONG_SILENT loses it."""

    event: NodeEvent
    why: str


def judge_silence(node: Node, rules: NodeRules, now_ms: int) -> Verdict | None:
    """What the silence of a living node means at this moment; None: nothing, or nothing new.

    An agent that starts may be silent for ``start_timeout_ms``, before its first heartbeat and while it loads its
    engine, which may hold its interpreter; one that was taken over from an earlier life of the Registry beats already,
    or is lost.
    """
    silent_ms = node.silent_ms(now_ms)
    if silent_ms is None:
        limit_ms = rules.lost_after_ms if node.is_restored else rules.start_timeout_ms
        is_late = now_ms - node.started_at_ms >= limit_ms
        held = str(node.declaration.held)
        hint = f", as long as something else has the {held} that it asks Ray for" if held else ""
        return Verdict(NodeEvent.TOO_LONG_SILENT, f"no first heartbeat{hint}") if is_late else None
    if node.is_loading:
        is_late = silent_ms >= rules.start_timeout_ms
        why = f"silent for {shown_ms(silent_ms)} while loading its engine"
        return Verdict(NodeEvent.TOO_LONG_SILENT, why) if is_late else None
    if silent_ms >= rules.lost_after_ms:
        return Verdict(NodeEvent.TOO_LONG_SILENT, f"silent for {shown_ms(silent_ms)}")
    if silent_ms >= rules.suspect_after_ms and node.status is not NodeStatus.SUSPECT:
        return Verdict(NodeEvent.SILENT, f"silent for {shown_ms(silent_ms)}")
    return None


class _Rest(NamedTuple):
    """A node's pause before its next agent."""

    ends_at_ms: int
    delay_ms: int


class Respawns:
    """The pauses before agents are started again: doubled at each loss in a row, up to half a minute."""

    def __init__(self, first_delay_ms: int) -> None:
        self._first_delay_ms = first_delay_ms
        self._rests: dict[str, _Rest] = {}

    def handle_lost(self, name: str, now_ms: int) -> None:
        """The node's agent is lost: the next one has to wait, twice as long as the last time."""
        last = self._rests.get(name)
        delay_ms = min(last.delay_ms * 2, _MAX_RESPAWN_DELAY_MS) if last else self._first_delay_ms
        self._rests[name] = _Rest(now_ms + delay_ms, delay_ms)

    def is_resting(self, name: str, now_ms: int) -> bool:
        """Whether it is too early to start an agent there."""
        return name in self._rests and now_ms < self._rests[name].ends_at_ms

    def forgive(self, name: str) -> None:
        """The node is well, or its machine has gone: the next loss is a first one."""
        self._rests.pop(name, None)
