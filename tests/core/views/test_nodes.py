"""The rows in which people see nodes and pools."""

from ray_sched.core.capability import Capability
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.rules import PoolRules
from ray_sched.core.views.nodes import NodeRow, PoolRow, what_is_lacking
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
        why="its agent is starting",
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


def test_nodes_that_cannot_join_are_shown_with_the_sentence_until_they_can() -> None:
    harness = RegistryHarness()
    first, twin = a_ray_node("ray-1"), a_ray_node("twin-of-ray-1")
    labels = {"ray-sched.io/engine": "echo", "ray-sched.io/asr": "english", "ray-sched.io/node": "node-b"}
    harness.look(first, twin, RayNode(ray_node_id="0123456789", labels=labels))
    shown = [NodeRow.of_left_out(one) for one in harness.brain.left_out]
    assert [(row.node, row.status, row.capability.engine, row.slots, row.why) for row in shown] == [
        (
            "node-01234567",
            "left out",
            "echo",
            0,
            "ray-sched.io/asr='english': 'english' is not a language tag such as en",
        ),
        ("node-twin-of-", "left out", "echo", 0, "two nodes are called node-a"),
    ]
    harness.look(twin)
    assert harness.brain.left_out == []


def test_a_node_that_starts_again_says_why_the_last_time_was_not_the_last() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    harness.brain.agent_died("node-a", 1, "its agent died: no module named ray_sched", harness.now_ms)
    assert (row(harness).status, row(harness).why) == ("lost", "its agent died: no module named ray_sched")
    harness.wait(1_000)
    assert (row(harness).status, row(harness).incarnation) == ("registering", 2)
    assert row(harness).why == "starts again: its agent died: no module named ray_sched"
    harness.beat(a_beat(incarnation=2))
    assert row(harness).why == ""


# --- what is lacking -------------------------------------------------------------------------------------------------


def rows(harness: RegistryHarness) -> list[NodeRow]:
    brain = harness.brain
    return [NodeRow.of(node, 0, harness.now_ms, brain.threshold_reached(node)) for node in brain.nodes.values()]


def two_nodes(*loads: Load) -> list[NodeRow]:
    """Two ready nodes with these loads."""
    harness = RegistryHarness(PoolRules(cpu_threshold_percent=50))
    for number, load in enumerate(loads, start=1):
        name = f"node-{number}"
        harness.join(name, f"ray-{number}")
        harness.beat(a_beat(name, load=load))
    return rows(harness)


def test_a_ready_node_at_a_threshold_is_shown_with_it_and_no_other_is() -> None:
    over, below = two_nodes(Load(cpu=50.0), Load(cpu=49.0))
    assert (over.status, over.threshold) == ("ready", "CPU used by others at 50 %, limit 50 %")
    assert below.threshold == ""
    harness = RegistryHarness()
    harness.join()
    harness.beat(a_beat(load=Load(memory=90.0)))
    harness.brain.drain("node-a", None, harness.now_ms)
    assert rows(harness)[0].threshold == "", "it gets no new work anyway"


def test_nodes_that_are_ready_and_may_not_be_used_are_named_with_their_threshold() -> None:
    full = Load(memory=92.8)
    assert what_is_lacking(two_nodes(full, full), 2, 60) == (
        "2 nodes are ready, none may be used: memory at 93 %, limit 85 %"
    )
    assert what_is_lacking(two_nodes(full, Load()), 2, 60) == (
        "2 nodes are ready, 1 may be used: memory at 93 %, limit 85 %"
    )


def test_nodes_that_are_not_ready_are_named_with_what_they_do() -> None:
    harness = RegistryHarness()
    harness.join("node-1", "ray-1")
    harness.look(*harness.listed, a_ray_node("ray-2", "node-2"))
    harness.beat(a_beat("node-2", is_loaded=False, capability=None, why="loading its engine"))
    assert what_is_lacking(rows(harness), 2, 60) == (
        "1 of 2 nodes are ready after 60 s; node-2 is registering: loading its engine"
    )
    assert what_is_lacking(rows(harness), 1, 60) == "the nodes are ready, but their slots are not there after 60 s"
