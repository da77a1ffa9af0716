"""A drained node is had back: one that drains, one that has left, and one that an earlier Registry had drained."""

from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.effects import SpawnAgent, StopAgent
from tests.support.builders import a_beat, a_ray_node, only
from tests.support.registry_harness import RegistryHarness, a_record, members, of, written


def test_a_node_that_drains_is_had_back_with_its_next_good_beat_and_the_jobs_it_has() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", 1_000, harness.now_ms)
    harness.beat(a_beat(running=1))
    effects = harness.brain.undrain("node-a")
    assert effects is not None
    assert only(members(effects).nodes).status == "registering"
    assert not written(effects)["node-a"].is_drained
    assert only(members(harness.beat(a_beat(running=1))).nodes).status == "ready"
    assert of(harness.wait(5_000, a_beat(running=1)), StopAgent) == [], "no deadline holds any more"
    assert harness.status() is NodeStatus.READY


def test_a_drained_node_that_has_left_joins_again_when_it_is_wanted_back() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", None, harness.now_ms)
    harness.wait(1_000, a_beat())
    assert harness.status() is NodeStatus.GONE
    assert harness.brain.undrain("node-a") is not None
    assert [spawn.incarnation for spawn in of(harness.look(a_ray_node()), SpawnAgent)] == [2]


def test_a_node_that_was_drained_in_an_earlier_life_of_the_registry_is_had_back() -> None:
    after = RegistryHarness()
    after.brain.restore([a_record("node-b", "ray-2", 3, is_drained=True)], after.now_ms)
    effects = after.brain.undrain("node-b")
    assert effects is not None
    assert not written(effects)["node-b"].is_drained
    assert [spawn.incarnation for spawn in of(after.look(a_ray_node("ray-2", "node-b")), SpawnAgent)] == [4]


def test_nobody_has_back_what_was_not_drained() -> None:
    harness = RegistryHarness()
    harness.join()
    assert harness.brain.undrain("node-a") is None
    assert harness.brain.undrain("node-x") is None
    harness.brain.drain("node-a", None, harness.now_ms)
    assert harness.brain.undrain("node-a") is not None
    assert harness.brain.undrain("node-a") is None
