"""When the scheduler is healthy, and in which sentence it is said that it is not."""

from msgspec import structs

from ray_sched.core.effects import DrainBegan
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.views.health import what_is_wrong
from ray_sched.core.views.jobs import ClusterView, status_view
from ray_sched.core.views.nodes import NodeRow
from tests.support.builders import DispatchHarness, a_beat, a_ray_node
from tests.support.registry_harness import RegistryHarness


def a_view(harness: DispatchHarness | None = None, store_error: str = "") -> ClusterView:
    harness = harness or DispatchHarness()
    return status_view(harness.brain, harness.now_ms, held_bytes=0, stored_bytes=0, store_error=store_error)


def rows(harness: RegistryHarness) -> list[NodeRow]:
    brain = harness.brain
    return [NodeRow.of(node, 0, harness.now_ms, brain.threshold_reached(node)) for node in brain.nodes.values()]


def a_ready_node() -> RegistryHarness:
    harness = RegistryHarness()
    harness.join()
    return harness


def test_a_ready_node_and_a_store_that_answers_are_health() -> None:
    assert what_is_wrong(a_view(), rows(a_ready_node())) == []


def test_a_store_that_is_away_is_told_first() -> None:
    wrong = what_is_wrong(a_view(store_error="Redis at x: refused"), [])
    assert wrong == [
        "Redis does not answer, no new jobs are taken: Redis at x: refused",
        "there is no node; see ray-sched doctor",
    ]


def test_a_scheduler_that_drains_takes_no_jobs() -> None:
    harness = DispatchHarness()
    harness.handle(DrainBegan())
    assert what_is_wrong(a_view(harness), rows(a_ready_node())) == ["the scheduler drains, no new jobs are taken"]


def test_a_node_that_is_ill_is_named_with_what_it_has() -> None:
    harness = a_ready_node()
    for _ in range(3):
        harness.beat(a_beat(is_healthy=False, why="no memory"))
    assert what_is_wrong(a_view(), rows(harness)) == ["no node is ready", "node-a is degraded: no memory"]


def test_a_node_that_drains_is_what_a_person_wanted_but_somebody_has_to_be_ready() -> None:
    harness = a_ready_node()
    harness.brain.drain("node-a", None, harness.now_ms)
    assert what_is_wrong(a_view(), rows(harness)) == ["no node is ready"]
    other = structs.replace(rows(a_ready_node())[0], node="node-b")
    assert what_is_wrong(a_view(), [*rows(harness), other]) == []


def test_nodes_that_are_all_at_a_threshold_do_nothing() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    harness.beat(a_beat(load=Load(cpu=99.0)))
    (wrong,) = what_is_wrong(a_view(), rows(harness))
    assert wrong.startswith("every ready node is at a threshold: node-a: ")
