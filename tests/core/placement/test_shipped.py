"""The policies that the settings can name, each by what it prefers where the others do not."""

from collections import Counter

import pytest

from ray_sched.core.placement.candidates import EXACT
from ray_sched.core.placement.guarded import GuardedPolicy
from ray_sched.core.placement.policy import DEFAULT_POLICY, Placement, PlacementPolicy
from ray_sched.core.placement.shipped import FASTEST_FREE, LEAST_IN_FLIGHT, POLICIES, RANDOM
from tests.support.placement import a_book, a_node_state, a_question, groups_of, place


def chosen(policy: PlacementPolicy, q: object = None, **busy: int) -> str:
    """Where a policy sends a job: fast is four times as fast as slow, both have four slots."""
    nodes = [a_node_state(name, 4, busy=n_busy) for name, n_busy in busy.items()]
    question = a_question(speeds=a_book(fast=4.0, slow=1.0), affine_node="slow") if q is None else q
    found = place(nodes, question, policy).node_state  # type: ignore[arg-type]  # a question, whoever made it
    assert found is not None
    return found.node


def test_the_default_one_takes_the_faster_node_though_it_is_busier() -> None:
    assert chosen(POLICIES["expected_completion"], fast=3, slow=1) == "fast"
    assert POLICIES["expected_completion"] is DEFAULT_POLICY


def test_least_in_flight_does_not_look_at_speed() -> None:
    assert chosen(LEAST_IN_FLIGHT, fast=3, slow=1) == "slow"
    assert chosen(LEAST_IN_FLIGHT, fast=1, slow=2) == "fast"


def test_least_in_flight_looks_at_every_node_not_at_the_fastest_few() -> None:
    nodes = {f"n{number}": 2 for number in range(2 * EXACT)}
    speeds = {name: 1.0 + number for number, name in enumerate(nodes)}
    for idle in nodes:
        question = a_question(speeds=a_book(**speeds))
        assert chosen(LEAST_IN_FLIGHT, question, **(nodes | {idle: 1})) == idle


def test_fastest_free_looks_at_nothing_but_speed() -> None:
    near = a_question(speeds=a_book(fast=1.1, slow=1.0), affine_node="slow")
    assert chosen(DEFAULT_POLICY, near, fast=3, slow=0) == "slow"
    assert chosen(FASTEST_FREE, near, fast=3, slow=0) == "fast"


def test_random_is_even_and_the_same_when_it_is_asked_again() -> None:
    nodes = dict.fromkeys((f"n{number}" for number in range(2 * EXACT)), 0)
    questions = [a_question(tie_key=f"job-{number}/1") for number in range(1_600)]
    found = [chosen(RANDOM, q, **nodes) for q in questions[:400]]
    assert found == [chosen(RANDOM, q, **nodes) for q in questions[:400]]
    times = Counter(chosen(RANDOM, q, **nodes) for q in questions)
    assert set(times) == set(nodes)
    assert max(times.values()) < 3 * 1_600 / len(nodes)


def test_none_of_them_sends_a_job_where_it_cannot_run() -> None:
    full = a_node_state("full", 2, busy=2)
    for policy in POLICIES.values():
        assert place([full], a_question(), policy).node_state is None
        assert place([full, a_node_state("free")], a_question(), policy).node_state is not None


class _Raises:
    def place(self, *_args: object, **_options: object) -> Placement:
        msg = "no such thing"
        raise KeyError(msg)


class _AnswersWithAName:
    def place(self, *_args: object, **_options: object) -> str:
        return "node-a"


class _ChoosesTheFull:
    def place(self, *_args: object, **_options: object) -> Placement:
        return Placement(a_node_state("full", 2, busy=2))


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        (_Raises(), "raised KeyError: 'no such thing'"),
        (_AnswersWithAName(), "answered with str instead of a Placement"),
        (_ChoosesTheFull(), "chose 'full', which has no free slot for the job"),
    ],
)
def test_a_policy_that_breaks_its_contract_costs_its_opinion_only(policy: PlacementPolicy, what: str) -> None:
    told: list[str] = []
    q = a_question(job_id="j7")
    found = GuardedPolicy(policy, told.append).place(q, groups_of([a_node_state()]).candidates(q.demand))
    assert found.node_state is not None
    assert found.node_state.node == "node-a"
    assert told == [f"the placement policy {what}; the default one decided for job j7 instead"]


def test_what_a_good_policy_says_is_passed_on() -> None:
    told: list[str] = []
    q = a_question()
    candidates = groups_of([a_node_state()]).candidates(q.demand)
    guarded = GuardedPolicy(LEAST_IN_FLIGHT, told.append)
    assert guarded.place(q, candidates, is_explained=True) == LEAST_IN_FLIGHT.place(q, candidates, is_explained=True)
    assert told == []
