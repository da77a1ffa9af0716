"""Groups of seats: the choice among many, and what it costs."""

import random
from collections.abc import Callable

import pytest

from ray_sched.core.capability import Capability, Demand
from ray_sched.core.messages.client_dispatcher import Assigned
from ray_sched.core.placement.groups import EXACT, SAMPLE, Groups
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import Question, score
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.queue.waiting import QueueKey
from ray_sched.core.rules import SelectionRules
from tests.support.builders import ENGLISH, DispatchHarness, a_node, told

DEMAND = Demand(src="en", tgt="en", services=("asr",))
RULES = SelectionRules()


def nobody(_demand: Demand) -> QueueKey | None:
    return None


def a_question(number: int, **changes: object) -> Question:
    facts: dict[str, object] = {"demand": DEMAND, "pair": "en:en", "audio_ms": 1_000, "now_ms": 0, "rules": RULES}
    facts |= {"speeds": SpeedBook(RULES), "tie_key": f"j{number}/1"}
    return Question(**(facts | changes))  # type: ignore[arg-type]


def a_node_state(node: str, capability: Capability) -> NodeState:
    node_state = NodeState(node, 1, capability)
    node_state.why = None
    return node_state


def a_room(
    n_nodes: int, busy_ms: Callable[[int], int], capability: Capability = ENGLISH
) -> tuple[Groups, list[NodeState]]:
    groups = Groups(nobody, list)
    node_states = []
    for n in range(n_nodes):
        node_state = a_node_state(f"node-{n}", capability)
        groups.add(node_state)
        node_state.lease(2, 10_000)
        if busy_ms(n):
            node_state.acquire((f"other-{n}", 1), busy_ms(n))
        node_states.append(node_state)
    return groups, node_states


def test_among_a_few_free_seats_the_very_best_is_taken() -> None:
    rng = random.Random(1)  # noqa: S311  # the same loads every time
    groups, node_states = a_room(EXACT, lambda _n: rng.randint(1, 60_000))
    best = min(node_states, key=lambda node_state: score(node_state, a_question(0)))
    assert {groups.pick(a_question(n)) for n in range(50)} == {best}


def test_among_a_thousand_the_choice_is_a_good_one_and_the_same_every_time() -> None:
    rng = random.Random(1)  # noqa: S311  # the same loads every time
    groups, node_states = a_room(1_000, lambda _n: rng.randint(1, 60_000))
    order = sorted(node_states, key=lambda node_state: score(node_state, a_question(0)))
    picked = [groups.pick(a_question(n)) for n in range(500)]
    ranks = [order.index(node_state) for node_state in picked if node_state]
    assert sum(ranks) / 500 == pytest.approx(1_000 / (SAMPLE + 1), rel=0.25)
    assert picked == [groups.pick(a_question(n)) for n in range(500)]


def test_a_session_finds_its_own_node_among_a_thousand() -> None:
    groups, node_states = a_room(1_000, lambda _n: 0)
    assert {groups.pick(a_question(n, affine_node="node-700")) for n in range(50)} == {node_states[700]}


def test_company_is_found_among_a_thousand() -> None:
    groups, node_states = a_room(1_000, lambda _number: 0)
    assert groups.pick(a_question(7, colocated_node=node_states[613].node)) is node_states[613]


def test_the_one_node_that_is_willing_is_found_among_a_thousand() -> None:
    groups, node_states = a_room(1_000, lambda _n: 0)
    for node_state in node_states:
        node_state.resting_until_ms = 0 if node_state.node == "node-3" else 50
    assert groups.pick(a_question(1)) is node_states[3]
    node_states[3].resting_until_ms = 50
    assert groups.pick(a_question(1)) is None


def test_seats_come_and_go_and_only_free_ones_are_picked() -> None:
    groups, node_states = a_room(40, lambda _n: 0)
    for node_state in node_states[:39]:
        node_state.acquire(("x", 1), 0)
        node_state.acquire(("y", 1), 0)
    assert groups.pick(a_question(1)) is node_states[39]
    groups.remove(node_states[39])
    assert groups.pick(a_question(1)) is None
    node_states[5].release(("x", 1))
    assert groups.pick(a_question(1)) is node_states[5]
    assert groups.n_leased == 78


@pytest.mark.parametrize("seed", range(20))
def test_the_next_demand_is_the_first_of_all_for_which_any_seat_is_free(seed: int) -> None:
    """Seats come, go, fill and empty, demands come and grow old: the answer is always that of looking at everything."""
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
                node_states.append(a_node_state(f"node-{number}", Capability(engine="echo", asr=asr)))
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
                groups.want(demand)
            case "serve" if (served := groups.next_demand()) and rng.random() < 0.5:
                del queue_keys[served]
            case "serve" if served:
                queue_keys[served] = (0, 0, 0, queue_keys[served][3] + rng.randint(0, 9), number)
        able = [
            demand for demand in queue_keys if any(s.n_free and demand.src in s.capability.asr for s in node_states)
        ]
        assert groups.next_demand() == min(able, key=queue_keys.__getitem__, default=None)
        assert (groups.pick(a_question(number, demand=demand)) is None) == (
            not any(node_state.n_free and demand.src in node_state.capability.asr for node_state in node_states)
        )
        assert groups.n_leased == sum(node_state.n_leased for node_state in node_states)


def test_a_demand_that_waits_is_not_forgotten_however_many_others_were_seen() -> None:
    queue_keys: dict[Demand, QueueKey] = {DEMAND: (0, 0, 0, 0, 1)}
    groups = Groups(queue_keys.get, lambda: list(queue_keys))
    node_state = a_node_state("node-1", ENGLISH)
    groups.add(node_state)
    groups.want(DEMAND)
    for number in range(10_000):
        groups.is_served(Demand(src="en", tgt="en", services=("asr",), tenant=f"tenant-{number}"))
    assert groups.next_demand() is None
    node_state.lease(1, 10_000)
    assert groups.next_demand() == DEMAND


def test_a_slot_that_becomes_free_goes_to_whose_turn_it_is_among_all_demands_it_can_serve() -> None:
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
