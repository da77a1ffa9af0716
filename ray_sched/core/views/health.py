"""Whether all is well, and what to do where it is not: what ``status`` ends with, and the lines of ``doctor``."""

from collections.abc import Sequence

from msgspec import Struct

from ray_sched.core.node_status import NodeStatus
from ray_sched.core.views.jobs import ClusterView
from ray_sched.core.views.nodes import LEFT_OUT, READY, NodeRow

_DELIBERATE = frozenset({str(NodeStatus.DRAINING), str(NodeStatus.GONE), str(NodeStatus.REGISTERING)})
"""What a person has asked for, or what passes by itself."""


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    is_ok: bool
    found: str
    """What it is, for people."""
    advice: str = ""
    """What to do; empty where it is as it should be."""


def what_is_wrong(view: ClusterView, nodes: Sequence[NodeRow]) -> list[str]:
    """A sentence for each thing that keeps jobs from being done, the worst first; none: the scheduler is healthy.

    That all slots are taken is no illness, nor is a node that drains because somebody has said so.
    """
    wrong = []
    if view.store_error:
        wrong.append(f"Redis does not answer, no new jobs are taken: {view.store_error}")
    if view.is_draining:
        wrong.append("the scheduler drains, no new jobs are taken")
    ready = [node for node in nodes if node.status == READY]
    if not ready:
        wrong.append("no node is ready" if nodes else "there is no node; see ray-sched doctor")
    elif all(node.threshold for node in ready):
        wrong.append(f"every ready node is at a threshold: {ready[0].node}: {ready[0].threshold}")
    wrong += [_of_node(node) for node in nodes if node.status != READY and node.status not in _DELIBERATE]
    return wrong


def _of_node(node: NodeRow) -> str:
    what = "cannot join" if node.status == LEFT_OUT else f"is {node.status}"
    return f"{node.node} {what}{f': {node.why}' if node.why else ''}"
