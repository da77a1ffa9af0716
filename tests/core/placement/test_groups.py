"""Groups of nodes: who is a candidate, which nodes are free, and which demand is next."""

import random

import pytest

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.messages.client_dispatcher import Assigned
from ray_sched.core.placement.groups import Groups
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import RankingPolicy
from ray_sched.core.queue.waiting import QueueKey
from tests.support.builders import DispatchHarness, a_node, told
from tests.support.placement import DEMAND, a_node_state, a_question, groups_of

POLICY = RankingPolicy()


def picked(groups: Groups, number: int = 1, demand: Demand = DEMAND) -> NodeState | None:
    question = a_question(demand=demand, tie_key=f"j{number}/1")
    return POLICY.place(question, groups.candidates(demand)).node_state


def test_nodes_come_and_go_and_only_free_ones_are_picked() -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(40)]
    groups = groups_of(node_states)
    for node_state in node_states[:39]:
        node_state.acquire(("x", 1), 0)
        node_state.acquire(("y", 1), 0)
    assert picked(groups) is node_states[39]
    groups.remove(node_states[39])
    assert picked(groups) is None
    node_states[5].release(("x", 1))
    assert picked(groups) is node_states[5]
    assert groups.n_leased == 78


@pytest.mark.parametrize("seed", range(20))
def test_the_next_demand_is_the_first_of_all_for_which_any_node_is_free(seed: int) -> None:
    """Nodes come, go, fill and empty, demands come and grow old: the answer is always that of looking at everything."""
    rng = random.Random(seed)  # noqa: S311  # the same every time
    languages = ("de", "en", "es", "fr")
    queue_keys: dict[Demand, QueueKey] = {}
    groups = Groups(queue_keys.get, lambda: list(queue_keys))
    node_states: list[NodeState] = []
    for number in range(400):
        demand = Demand(src=(language := rng.choice(languages)), tgt=language, services=("asr",))
        match rng.choice(("come", "go", "fill", "empty", "empty", "wait", "wait", "serve", "serve")):
            case "come":
                asr = tuple(sorted(rng.sample(languages, rng.randint(1, 3))))
                node_states.append(a_node_state(f"node-{number}", 0, Capability(engine="echo", asr=asr)))
                groups.add(node_states[-1])
                node_states[-1].lease(rng.randint(0, 2), 10_000)
            case "go" if node_states:
                groups.remove(node_states.pop(rng.randrange(len(node_states))))
            case "fill" if free := [node_state for node_state in node_states if node_state.n_free]:
                rng.choice(free).acquire((f"job-{number}", 1), 0)
            case "empty" if full := [node_state for node_state in node_states if node_state.n_acquired]:
                (node_state := rng.choice(full)).release(node_state.attempts()[0])
            case "wait":
                queue_keys[demand] = min(queue_keys.get(demand, (9, 0, 0, 0, 0)), (0, 0, 0, rng.randint(0, 9), number))
                groups.enqueue(demand)
            case "serve" if (served := groups.next_demand()) and rng.random() < 0.5:
                del queue_keys[served]
            case "serve" if served:
                queue_keys[served] = (0, 0, 0, queue_keys[served][3] + rng.randint(0, 9), number)
        able = [
            demand for demand in queue_keys if any(s.n_free and demand.src in s.capability.asr for s in node_states)
        ]
        assert groups.next_demand() == min(able, key=queue_keys.__getitem__, default=None)
        assert (picked(groups, number, demand) is None) == (
            not any(node_state.n_free and demand.src in node_state.capability.asr for node_state in node_states)
        )
        assert groups.n_leased == sum(node_state.n_leased for node_state in node_states)


def test_a_demand_that_waits_is_not_forgotten_however_many_others_were_seen() -> None:
    queue_keys: dict[Demand, QueueKey] = {DEMAND: (0, 0, 0, 0, 1)}
    groups = Groups(queue_keys.get, lambda: list(queue_keys))
    node_state = a_node_state("node-1", slots=0)
    groups.add(node_state)
    groups.enqueue(DEMAND)
    for number in range(10_000):
        groups.is_served(Demand(src="en", tgt="en", services=("asr",), tenant=f"tenant-{number}"))
    assert groups.next_demand() is None
    node_state.lease(1, 10_000)
    assert groups.next_demand() == DEMAND


def test_a_slot_that_becomes_free_goes_to_the_next_job_among_all_demands_it_can_serve() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), capability=Capability(engine="echo", asr=("de", "en")))
    harness.submit("r0")
    english = harness.submit("r1")
    german = harness.submit("r2", src="de", tgt="de", priority=1)
    harness.submit("r3", src="fr", tgt="fr", priority=2)
    assert told(harness.run("boot-1"), Assigned)[0].job_id == german
    assert told(harness.run(german), Assigned)[0].job_id == english


def test_a_node_that_learns_a_language_serves_those_who_wait_for_it() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    german = harness.submit("r1", src="de", tgt="de")
    harness.offer(a_node("node-a"), capability=Capability(engine="echo", asr=("de", "en")))
    assert harness.job(german).node == "node-a"


def a_demand(language: str, tenant: str = "") -> Demand:
    return Demand(src=language, tgt=language, services=("asr",), tenant=tenant)


def see_many_demands(groups: Groups) -> None:
    """As many as make the groups forget those for whom nobody waits."""
    for number in range(4_097):
        groups.is_served(a_demand("en", f"tenant-{number}"))


def test_with_its_last_node_a_group_is_gone_and_the_others_serve_on() -> None:
    german = Capability(engine="echo", asr=("de", "en"))
    first, last = a_node_state("first", capability=german), a_node_state("last", capability=german)
    groups = groups_of([first, last, a_node_state("english")])
    groups.remove(first)
    assert groups.is_served(a_demand("de"))
    groups.remove(last)
    assert not groups.is_served(a_demand("de"))
    assert [len(group.node_states) for group in groups.candidates(a_demand("en")).groups] == [1]
    assert groups.n_leased == 2


def test_who_waits_when_a_group_comes_or_goes_is_served_by_those_that_are_there_then() -> None:
    keys: dict[Demand, QueueKey] = {DEMAND: (0, 0, 0, 0, 1)}
    groups = Groups(keys.get, lambda: list(keys))
    groups.enqueue(DEMAND)
    assert groups.next_demand() is None
    node_state = a_node_state("node-1")
    groups.add(node_state)
    assert groups.next_demand() == DEMAND
    groups.add(a_node_state("node-2", capability=Capability(engine="other", asr=("en",))))
    groups.remove(node_state)
    assert groups.next_demand() == DEMAND


def test_a_node_that_has_left_changes_nothing_any_more() -> None:
    node_state = a_node_state("node-1", slots=2)
    groups = groups_of([node_state, a_node_state("node-2", slots=1)])
    groups.remove(node_state)
    node_state.lease(9, 20_000)
    node_state.acquire(("j", 1), 0)
    assert (groups.n_leased, [each.node for each in groups.nodes()]) == (1, ["node-2"])
    assert [each.node for each in groups.candidates(DEMAND).free()] == ["node-2"]


def test_a_demand_that_is_skipped_is_not_next_until_it_is_enqueued_again() -> None:
    keys: dict[Demand, QueueKey] = {a_demand("en"): (0, 0, 0, 0, 1), a_demand("en", "acme"): (0, 0, 0, 0, 2)}
    groups = Groups(keys.get, lambda: list(keys))
    groups.add(a_node_state("node-1"))
    assert groups.next_demand() == a_demand("en")
    groups.skip(a_demand("en"))
    assert groups.next_demand() == a_demand("en", "acme")
    groups.enqueue(a_demand("en"))
    assert groups.next_demand() == a_demand("en")


def test_candidates_that_were_forgotten_meanwhile_are_found_as_they_are_now() -> None:
    keys: dict[Demand, QueueKey] = {}
    groups = Groups(keys.get, lambda: list(keys))
    node_state = a_node_state("node-1", slots=0)
    groups.add(node_state)
    assert groups.is_served(DEMAND)
    see_many_demands(groups)
    node_state.lease(1, 10_000)
    keys[DEMAND] = (0, 0, 0, 0, 1)
    groups.enqueue(DEMAND)
    assert groups.next_demand() == DEMAND
    assert picked(groups) is node_state


def test_a_slot_is_noted_for_no_candidates_that_were_forgotten() -> None:
    groups = groups_of(
        [a_node_state("node-1", capability=Capability(engine="echo", asr=("de", "en"))), a_node_state("b")]
    )
    both, german = groups.candidates(a_demand("en")), groups.candidates(a_demand("de"))
    (group,) = german.groups
    assert group.candidates == [both, german]
    see_many_demands(groups)
    assert len(group.candidates) == 1
