"""Candidates: which free nodes a job looks at."""

from itertools import pairwise

from ray_sched.core.placement.candidates import EXACT, SAMPLE, Candidates
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import NodeState
from tests.support.placement import DEMAND, a_node_state, a_question, groups_of


def of_classes(*speed_classes: int) -> tuple[Groups, Candidates, list[NodeState]]:
    """A free node of each of these speed classes."""
    node_states = [a_node_state(f"node-{n}") for n in range(len(speed_classes))]
    for node_state, speed_class in zip(node_states, speed_classes, strict=True):
        node_state.speed_class = speed_class
    groups = groups_of(node_states)
    return groups, groups.candidates(DEMAND), node_states


def sampled(candidates: Candidates, **changes: object) -> list[int]:
    """The numbers of the nodes that a job looks at."""
    return sorted(int(node_state.node.removeprefix("node-")) for node_state in candidates.sample(a_question(**changes)))


def test_up_to_sixteen_free_nodes_are_looked_at_all() -> None:
    assert (EXACT, SAMPLE) == (16, 8)
    groups, candidates, node_states = of_classes(*[0] * 17)
    assert candidates.has_many_free
    groups.remove(node_states[0])
    assert not candidates.has_many_free


def test_the_fastest_are_looked_at_first_and_then_the_next_fastest() -> None:
    _, candidates, _ = of_classes(*[0] * 10, *[2] * 3, *[1] * 5, *[-1] * 10)
    assert sampled(candidates) == [10, 11, 12, 13, 14, 15, 16, 17]


def test_out_of_a_class_with_more_than_enough_eight_are_taken_that_the_attempt_decides() -> None:
    _, candidates, _ = of_classes(*[0] * 80)
    first, second = sampled(candidates, tie_key="j1/1"), sampled(candidates, tie_key="j2/1")
    assert (len(set(first)), len(set(second))) == (8, 8)
    assert first != second
    assert first == sampled(candidates, tie_key="j1/1")
    assert {after - before for before, after in pairwise(first)} == {10}, "evenly spread"


def test_half_of_those_looked_at_are_nodes_of_unknown_speed_while_there_are_others() -> None:
    unknown = 1_000
    _, candidates, _ = of_classes(*[unknown] * 10, *[0] * 10)
    assert [n < 10 for n in sampled(candidates)] == [True] * 4 + [False] * 4
    _, candidates, _ = of_classes(*[unknown] * 20)
    assert len(sampled(candidates)) == 8
    _, candidates, _ = of_classes(*[unknown] * 2, *[0] * 20)
    assert [n < 2 for n in sampled(candidates)] == [True] * 2 + [False] * 6


def test_named_nodes_are_looked_at_once_if_they_are_free() -> None:
    _, candidates, node_states = of_classes(*[1] * 8, *[0] * 12)
    assert sampled(candidates, affine_node="node-3", colocated_node="node-15") == [0, 1, 2, 3, 4, 5, 6, 7, 15]
    assert sampled(candidates, affine_node="node-15", colocated_node="node-15") == [0, 1, 2, 3, 4, 5, 6, 7, 15]
    node_states[15].acquire(("j", 1), 0)
    node_states[15].acquire(("j", 2), 0)
    assert sampled(candidates, affine_node="node-15") == [0, 1, 2, 3, 4, 5, 6, 7]


def test_nodes_that_fill_and_empty_are_found_where_they_are() -> None:
    _, candidates, node_states = of_classes(0, 0, 1, 1)
    for node_state in (node_states[0], node_states[3], node_states[2]):
        node_state.acquire(("j", 1), 0)
        node_state.acquire(("j", 2), 0)
    assert [node_state.node for node_state in candidates.free()] == ["node-1"]
    assert sampled(candidates, affine_node="node-1") == [1]
    node_states[2].release(("j", 1))
    assert sampled(candidates, affine_node="node-2") == [1, 2]
    node_states[0].release(("j", 1))
    assert sampled(candidates) == [0, 1, 2]


def test_a_node_that_turns_out_to_be_faster_is_looked_at_sooner() -> None:
    groups, candidates, node_states = of_classes(*[0] * 30)
    groups.set_speed_class(node_states[17], 3)
    for number in range(10):
        assert 17 in sampled(candidates, tie_key=f"j{number}/1")
    for n in range(10):
        groups.set_speed_class(node_states[n], 4)
    for number in range(10):
        assert 17 not in sampled(candidates, tie_key=f"j{number}/1")


def test_a_full_node_of_another_speed_class_stays_full() -> None:
    groups, candidates, node_states = of_classes(0, 0)
    node_states[0].acquire(("j", 1), 0)
    node_states[0].acquire(("j", 2), 0)
    groups.set_speed_class(node_states[0], 1)
    assert [node_state.node for node_state in candidates.free()] == ["node-1"]
    node_states[0].release(("j", 1))
    assert node_states[0].speed_class == 1
    assert {node_state.node for node_state in candidates.free()} == {"node-0", "node-1"}
