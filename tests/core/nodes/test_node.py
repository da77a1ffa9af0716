"""The node: its table and what heartbeats do."""

import pytest

from ray_sched.core.node_status import NODE_TABLE, NodeEvent, NodeStatus
from ray_sched.core.nodes.node import Declaration, Node
from tests.support.builders import ENGLISH, a_beat


def a_new_node() -> Node:
    return Node(Declaration(node="node-a", engine="echo", capability=ENGLISH, slots=2), "ray-1", 1, 0)


PATHS: dict[NodeStatus, list[NodeEvent]] = {
    NodeStatus.REGISTERING: [],
    NodeStatus.READY: [NodeEvent.GOOD_BEAT],
    NodeStatus.DEGRADED: [NodeEvent.TOO_MANY_BAD_BEATS],
    NodeStatus.SUSPECT: [NodeEvent.GOOD_BEAT, NodeEvent.SILENT],
    NodeStatus.DRAINING: [NodeEvent.DRAIN],
    NodeStatus.LOST: [NodeEvent.DIED],
    NodeStatus.GONE: [NodeEvent.DRAIN, NodeEvent.EMPTY],
}


@pytest.mark.parametrize("event", NodeEvent)
@pytest.mark.parametrize("status", NodeStatus)
def test_an_event_moves_a_node_by_the_table_or_changes_nothing(status: NodeStatus, event: NodeEvent) -> None:
    node = a_new_node()
    for step in PATHS[status]:
        assert node.move(step)
    assert node.status is status
    assert node.move(event) is (event in NODE_TABLE[status])
    assert node.status is NODE_TABLE[status].get(event, status)


def test_the_first_good_beat_makes_a_node_ready_and_one_while_it_loads_does_not() -> None:
    node = a_new_node()
    seen = []
    for beat in (a_beat(is_loaded=False, capability=None), a_beat()):
        node.handle(beat, 100)
        seen.append(node.status)
    assert seen == [NodeStatus.REGISTERING, NodeStatus.READY]


def test_three_bad_beats_in_a_row_degrade_a_node_and_a_good_one_makes_it_ready_again() -> None:
    node = a_new_node()
    node.handle(a_beat(), 0)
    seen = []
    for _ in range(3):
        node.handle(a_beat(is_healthy=False), 0)
        seen.append(node.status)
    node.handle(a_beat(), 0)
    assert [*seen, node.status] == [NodeStatus.READY, NodeStatus.READY, NodeStatus.DEGRADED, NodeStatus.READY]


def test_three_bad_beats_of_five_degrade_a_node() -> None:
    node = a_new_node()
    seen = []
    for is_healthy in (True, False, True, False, False):
        node.handle(a_beat(is_healthy=is_healthy), 0)
        seen.append(node.status)
    assert seen == [NodeStatus.READY] * 4 + [NodeStatus.DEGRADED]


def test_a_draining_node_stays_draining_whatever_its_beats_say() -> None:
    node = a_new_node()
    node.move(NodeEvent.DRAIN)
    for is_healthy in (True, False, False, False, True):
        node.handle(a_beat(is_healthy=is_healthy), 0)
    assert node.status is NodeStatus.DRAINING
