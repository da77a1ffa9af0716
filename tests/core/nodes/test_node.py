"""The node: its table and what heartbeats do."""

import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.messages.registry_pool import MembersVersion
from ray_sched.core.node_status import NODE_TABLE, NodeEvent, NodeStatus
from ray_sched.core.nodes.declarations import Declaration
from ray_sched.core.nodes.node import Node
from tests.support.builders import ENGLISH, a_beat

DECLARATION = Declaration(node="node-a", engine="echo", capability=ENGLISH, slots=2)


def a_new_node() -> Node:
    return Node(DECLARATION, "ray-1", 1, 0)


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
        node.handle_heartbeat(beat, 100)
        seen.append(node.status)
    assert seen == [NodeStatus.REGISTERING, NodeStatus.READY]


def test_three_bad_beats_in_a_row_degrade_a_node_and_a_good_one_makes_it_ready_again() -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(), 0)
    seen = []
    for _ in range(3):
        node.handle_heartbeat(a_beat(is_healthy=False), 0)
        seen.append(node.status)
    node.handle_heartbeat(a_beat(), 0)
    assert [*seen, node.status] == [NodeStatus.READY, NodeStatus.READY, NodeStatus.DEGRADED, NodeStatus.READY]


def test_three_bad_beats_of_five_degrade_a_node() -> None:
    node = a_new_node()
    seen = []
    for is_healthy in (True, False, True, False, False):
        node.handle_heartbeat(a_beat(is_healthy=is_healthy), 0)
        seen.append(node.status)
    assert seen == [NodeStatus.READY] * 4 + [NodeStatus.DEGRADED]


def test_a_draining_node_stays_draining_whatever_its_beats_say() -> None:
    node = a_new_node()
    node.move(NodeEvent.DRAIN)
    for is_healthy in (True, False, False, False, True):
        node.handle_heartbeat(a_beat(is_healthy=is_healthy), 0)
    assert node.status is NodeStatus.DRAINING


def test_bad_beats_that_are_further_apart_than_five_degrade_nothing() -> None:
    node = a_new_node()
    for is_healthy in (True, False, False, True, True, True, False, False):
        node.handle_heartbeat(a_beat(is_healthy=is_healthy), 0)
    assert node.status is NodeStatus.READY


def test_two_bad_beats_before_the_engine_is_loaded_and_one_after_degrade_a_node() -> None:
    node = a_new_node()
    for is_loaded in (False, False, True):
        node.handle_heartbeat(a_beat(is_healthy=False, is_loaded=is_loaded), 0)
    assert node.status is NodeStatus.DEGRADED


def test_a_good_beat_begins_the_count_of_bad_ones_in_a_row_again() -> None:
    node = a_new_node()
    seen = []
    for is_healthy in (False, False, True, True, True, True, False, False):
        node.handle_heartbeat(a_beat(is_healthy=is_healthy), 0)
        seen.append(node.status)
    assert seen[-1] is NodeStatus.READY


def test_a_healthy_node_that_loads_again_keeps_its_status() -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(), 0)
    node.handle_heartbeat(a_beat(is_loaded=False), 0)
    assert node.status is NodeStatus.READY


def test_what_a_node_offers_changes_four_times_and_no_more() -> None:
    node = a_new_node()
    seen = []
    for language in ("aa", "bb", "bb", "cc", "dd", "ee", "aa"):
        node.handle_heartbeat(a_beat(capability=Capability(engine="echo", asr=(language,))), 0)
        seen.append(node.capability.asr[0] if node.capability else "")
    assert seen == ["aa", "bb", "bb", "cc", "dd", "dd", "dd"]


def test_a_draining_node_with_jobs_or_speech_has_not_drained_before_its_deadline() -> None:
    for beat in (a_beat(running=1), a_beat(speech_bytes=1)):
        node = a_new_node()
        node.begin_drain(10_000, MembersVersion(1, 1))
        for now_ms in (0, 500):
            node.handle_heartbeat(beat, now_ms)
        assert [node.has_drained(now_ms) for now_ms in (9_999, 10_000)] == [False, True]


def test_a_node_that_has_not_beaten_runs_nothing_and_has_been_silent_for_no_time_at_all() -> None:
    node = a_new_node()
    assert (node.running, node.silent_ms(1_000), node.view().has_died) == (0, None, False)


def test_only_a_draining_node_drains() -> None:
    node = a_new_node()
    assert not node.has_drained(1_000_000)
    node.handle_acquired(MembersVersion(1, 1), 0)
    assert not node.has_drained(1_000_000)


def test_a_node_that_has_ended_does_not_drain_any_more() -> None:
    node = a_new_node()
    node.lose(NodeEvent.DIED, "killed", 5_000, has_died=True)
    assert not node.begin_drain(10_000, MembersVersion(1, 1))
    assert (node.has_ended, node.ended_at_ms, node.why, node.has_died) == (True, 5_000, "killed", True)


def test_a_node_taken_over_may_have_jobs_before_its_first_beat_and_a_new_one_has_none() -> None:
    for is_restored in (True, False):
        node = Node(DECLARATION, "ray-1", 1, 0, is_restored=is_restored)
        node.begin_drain(10_000, MembersVersion(1, 1))
        assert node.has_drained(0) is not is_restored
