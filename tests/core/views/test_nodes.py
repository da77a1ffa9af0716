"""The rows in which people see nodes and pools."""

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.views.nodes import NodeRow, PoolRow
from tests.support.builders import ENGLISH, a_beat, a_ray_node
from tests.support.registry_harness import ENGLISH_POOL, RegistryHarness

GERMAN_TOO = Capability(engine="echo", asr=("de", "en"))


def row(harness: RegistryHarness, acquired: int = 0) -> NodeRow:
    return NodeRow.of(harness.brain.nodes["node-a"], acquired, harness.now_ms)


def test_a_node_that_has_not_beaten_yet_is_shown_with_what_it_declares() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    assert row(harness) == NodeRow(
        node="node-a",
        status="registering",
        why="",
        pool="",
        incarnation=1,
        slots=2,
        running=0,
        acquired=0,
        most_running=0,
        accepted=0,
        load=Load(),
        capability=ENGLISH,
        audio_bytes=0,
        speech_bytes=0,
        silent_ms=-1,
    )


def test_a_node_is_shown_with_what_its_last_heartbeat_said() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    harness.beat(
        a_beat(
            capability=GERMAN_TOO,
            load=Load(cpu=12.0),
            running=1,
            most_running=2,
            accepted=9,
            audio_bytes=640,
            speech_bytes=320,
            why="one slot is slow",
        )
    )
    harness.now_ms += 250
    assert row(harness, acquired=2) == NodeRow(
        node="node-a",
        status="ready",
        why="one slot is slow",
        pool="echo/asr=de.en",
        incarnation=1,
        slots=2,
        running=1,
        acquired=2,
        most_running=2,
        accepted=9,
        load=Load(cpu=12.0),
        capability=GERMAN_TOO,
        audio_bytes=640,
        speech_bytes=320,
        silent_ms=250,
    )


def test_a_pool_is_shown_with_its_nodes_in_order_their_slots_and_what_runs_on_them() -> None:
    harness = RegistryHarness()
    for name, ray_node_id in (("node-b", "ray-1"), ("node-a", "ray-2"), ("node-c", "ray-3")):
        harness.join(name, ray_node_id)
    harness.beat(a_beat("node-a", running=1))
    harness.beat(a_beat("node-b", running=2))
    assert PoolRow.of(harness.brain.pools[ENGLISH_POOL]) == PoolRow(
        pool=ENGLISH_POOL, capability=ENGLISH, nodes=("node-a", "node-b", "node-c"), slots=6, running=3
    )
