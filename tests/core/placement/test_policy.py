"""The policy: filter, score, pick, and what it says of each node."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_sched.core.capability import Capability
from ray_sched.core.placement.candidates import EXACT, SAMPLE, Candidates
from ray_sched.core.placement.filters import FILTERS
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import Placement, RankingPolicy
from ray_sched.core.placement.question import Question
from ray_sched.core.placement.scores import SCORES
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import SelectionRules
from tests.support.builders import DispatchHarness, a_node
from tests.support.placement import RULES, a_book, a_node_state, a_question, groups_of, picked, place

GERMAN = Capability(engine="echo", asr=("de",))


def test_every_node_that_is_passed_over_has_its_reason() -> None:
    full, late, resting, tired, modelless, kept = (
        a_node_state(name) for name in ("full", "late", "resting", "tired", "modelless", "kept")
    )
    full.acquire(("x", 1), 0)
    full.acquire(("y", 1), 0)
    late.term_ends_at_ms = 5
    resting.resting_until_ms = 6
    tired.quarantined_until_ms = 6
    modelless.unavailable_until_ms["asr"] = 6
    kept.reserve_for("another job")
    draining = a_node_state("draining", slots=0)
    draining.why = Reason.DRAINING
    other = a_node_state("other", capability=GERMAN)
    node_states = [full, late, resting, tired, modelless, kept, draining, other]
    assert place(node_states, a_question(now_ms=5)) == Placement(
        None,
        None,
        {
            "full": Reason.CAPACITY_FULL,
            "late": Reason.NOT_READY,
            "resting": Reason.REFUSED_LATELY,
            "tired": Reason.QUARANTINED,
            "modelless": Reason.SERVICE_UNAVAILABLE,
            "kept": Reason.RESERVED,
            "draining": Reason.DRAINING,
            "other": Reason.ASR_LANG_UNSUPPORTED,
        },
        {},
    )


def test_a_reason_ends_with_its_time() -> None:
    node_state = a_node_state()
    node_state.term_ends_at_ms = 7
    node_state.resting_until_ms = node_state.quarantined_until_ms = 6
    node_state.unavailable_until_ms["asr"] = 6
    node_state.unavailable_until_ms["tts"] = 9
    assert picked([node_state], a_question(now_ms=5)) is None
    assert picked([node_state], a_question(now_ms=6)) is node_state
    assert picked([node_state], a_question(now_ms=7)) is None


def test_a_node_that_is_reserved_for_a_job_is_its_own() -> None:
    node_state = a_node_state()
    node_state.reserve_for("j1")
    assert picked([node_state], a_question(job_id="j1")) is node_state
    assert picked([node_state], a_question(job_id="j2")) is None


def test_nobody_who_does_not_ask_is_told_reasons() -> None:
    full, idle = a_node_state("full", busy=2), a_node_state("idle")
    question = a_question()
    placement = RankingPolicy().place(question, groups_of([full, idle]).candidates(question.demand))
    assert placement[:4] == Placement(idle)[:4]


# --- excluded nodes


def test_the_failed_node_is_excluded_only_while_another_could_do_it_before_long() -> None:
    alone = a_node_state("node-a")
    question = a_question(excluded_node="node-a")
    assert picked([alone], question) is alone
    assert picked([alone, a_node_state("node-c", capability=GERMAN)], question) is alone
    placement = place([alone, a_node_state("node-b", slots=0)], question)
    assert placement.node_state is None
    assert placement.reasons["node-a"] is Reason.EXCLUDED
    assert question.excluded_node == "node-a", "the question is as it was"


@pytest.mark.parametrize("what", ["draining", "in quarantine", "without its model"])
def test_the_failed_node_is_taken_again_when_nothing_can_be_hoped_of_the_others(what: str) -> None:
    failed, other = a_node_state("node-a"), a_node_state("node-b")
    other.why = Reason.DRAINING if what == "draining" else None
    other.quarantined_until_ms = 30_000 if what == "in quarantine" else 0
    other.unavailable_until_ms["asr"] = 60_000 if what == "without its model" else 0
    assert picked([failed, other], a_question(excluded_node="node-a")) is failed
    other.why = Reason.NOT_READY
    assert picked([failed, other], a_question(excluded_node="node-a", is_late=True)) is failed


def test_a_job_that_is_late_is_tried_where_a_model_was_missing() -> None:
    alone = a_node_state("node-a")
    alone.unavailable_until_ms["asr"] = 60_000
    assert picked([alone], a_question()) is None
    assert picked([alone], a_question(is_late=True)) is alone
    other = a_node_state("node-b")
    assert picked([alone, other], a_question(is_late=True)) in {alone, other}


def test_for_a_moment_the_failed_node_is_excluded_even_if_there_is_no_other() -> None:
    alone = a_node_state("node-a")
    assert picked([alone], a_question(excluded_node="node-a", excluded_until_ms=500, now_ms=499)) is None
    assert picked([alone], a_question(excluded_node="node-a", excluded_until_ms=500, now_ms=500)) is alone


def test_another_node_of_the_same_capability_or_of_another_one_is_another_node() -> None:
    groups = groups_of([a_node_state("a"), a_node_state("b"), a_node_state("c", capability=GERMAN)])
    candidates = groups.candidates(a_question().demand)
    assert candidates.has_others("a")
    groups.remove(next(node for node in groups.nodes() if node.node == "b"))
    assert not candidates.has_others("a")
    assert candidates.has_others("b")
    groups.add(a_node_state("d", capability=Capability(engine="other", asr=("en",))))
    assert groups.candidates(a_question().demand).has_others("a")


# --- scores


def test_the_slot_that_is_done_first_is_taken_whatever_runs_beside_it() -> None:
    fast, slow = a_node_state("fast", slots=4, busy=3), a_node_state("slow", slots=4)
    assert picked([fast, slow], a_question(speeds=a_book(fast=2.0, slow=1.0))) is fast


def test_of_equally_fast_nodes_the_least_loaded_is_taken() -> None:
    busy, idle = a_node_state("busy", slots=4, busy=2), a_node_state("idle", slots=4, busy=1)
    large = a_node_state("large", slots=16, busy=3)
    assert picked([busy, idle], a_question()) is idle
    assert picked([busy, idle, large], a_question()) is large, "it counts what part of its slots is busy"


def test_a_node_is_only_a_little_slower_for_being_busy() -> None:
    busy, idle = a_node_state("busy", slots=4, busy=2), a_node_state("idle", slots=4)
    assert picked([busy, idle], a_question(speeds=a_book(busy=1.12, idle=1.0))) is idle
    assert picked([busy, idle], a_question(speeds=a_book(busy=1.13, idle=1.0))) is busy


def test_ties_are_broken_by_the_job_and_always_the_same_way() -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(4)]
    went = [picked(node_states, a_question(tie_key=f"j{n}/1")) for n in range(100)]
    assert went == [picked(node_states, a_question(tie_key=f"j{n}/1")) for n in range(100)]
    assert len({node_state.node for node_state in went if node_state}) == 4


def test_the_session_s_node_counts_as_a_fifth_faster_and_no_more() -> None:
    mine, other = a_node_state("mine"), a_node_state("other")
    assert picked([mine, other], a_question(affine_node="mine", speeds=a_book(mine=1.0, other=1.24))) is mine
    assert picked([mine, other], a_question(affine_node="mine", speeds=a_book(mine=1.0, other=1.26))) is other


def test_a_job_is_colocated_while_it_is_done_no_later_than_20_ms_after_the_best() -> None:
    near, best = a_node_state("near"), a_node_state("best")
    for late_ms, taken in ((19, near), (21, best)):
        speeds = a_book(near=1_000 / (100 + late_ms), best=10.0)
        assert picked([near, best], a_question(speeds=speeds, colocated_node="near")) is taken


def test_the_jobs_of_one_step_fill_a_node_of_short_runs_and_then_go_elsewhere() -> None:
    a, b = a_node_state("a", slots=4), a_node_state("b", slots=4)
    went = []
    for number in range(6):
        question = a_question(audio_ms=80, speeds=a_book(a=1.0, b=1.0), colocated_node="a", tie_key=f"j{number}/1")
        node_state = picked([a, b], question)
        assert node_state is not None
        node_state.acquire((f"j{number}", 1), 80)
        went.append(node_state.node)
    assert went == ["a", "a", "a", "a", "b", "b"]


def test_colocation_never_outweighs_a_job_that_takes_its_time() -> None:
    a, b = a_node_state("a", busy=1), a_node_state("b")
    assert picked([a, b], a_question(colocated_node="a")) is b


def test_the_parts_of_a_score_are_told_by_name() -> None:
    node_state = a_node_state("node-a", slots=4, busy=2)
    placement = place([node_state], a_question(affine_node="node-a", speeds=a_book(node_a=4.0)))
    score = placement.scores["node-a"]
    assert score.parts == {"expected_completion_s": 0.25, "affinity": 0.8, "occupancy": 1.125, "slow_start": 1.0}
    assert score.total == pytest.approx(0.225)


# --- a job that has to run alone


def test_a_job_that_has_to_run_alone_waits_for_the_node_that_is_empty_first() -> None:
    long, short = a_node_state("long", busy=2), a_node_state("short", busy=1)
    placement = place([long, short], a_question(is_exclusive=True, job_id="j1"))
    assert (placement.node_state, placement.to_reserve) == (None, short)
    assert placement.reasons == {"long": Reason.CAPACITY_FULL, "short": Reason.NOT_EMPTY}
    speeds = a_book(long=10.0, short=1.0)
    assert place([long, short], a_question(is_exclusive=True, job_id="j1", speeds=speeds)).to_reserve is long


def test_a_policy_that_does_not_look_at_reservations_takes_no_other_jobs_reservation() -> None:
    policy = RankingPolicy(filters=tuple(one for one in FILTERS if one.__name__ != "is_not_reserved"))
    anothers, free = a_node_state("anothers", busy=1), a_node_state("free", busy=2)
    anothers.reserve_for("another job")
    assert place([anothers, free], a_question(is_exclusive=True, job_id="j1"), policy).to_reserve is free


def test_a_job_that_has_to_run_alone_takes_an_empty_node_and_reserves_none() -> None:
    busy, empty = a_node_state("busy", busy=1), a_node_state("empty")
    question = a_question(is_exclusive=True, job_id="j1", speeds=a_book(busy=100.0, empty=1.0))
    placement = place([busy, empty], question)
    assert (placement.node_state, placement.to_reserve) == (empty, None)


def test_the_node_that_is_reserved_for_a_job_stays_the_one_while_nothing_speaks_against_it() -> None:
    mine, other, taken = a_node_state("mine", busy=2), a_node_state("other", busy=1), a_node_state("taken", busy=1)
    mine.reserve_for("j1")
    taken.reserve_for("j2")
    question = a_question(is_exclusive=True, job_id="j1")
    assert place([mine, other, taken], question).to_reserve is mine
    mine.quarantined_until_ms = 1
    assert place([mine, other, taken], question).to_reserve is other
    assert place([mine, taken], question).to_reserve is None


def test_no_node_is_reserved_for_a_job_that_may_run_beside_others() -> None:
    assert place([a_node_state(busy=2)], a_question()).to_reserve is None


# --- many nodes


def busy_nodes(n_nodes: int) -> list[NodeState]:
    rng = random.Random(1)  # noqa: S311  # the same loads every time
    return [a_node_state(f"node-{n}", slots=1_000, busy=rng.randint(0, 999)) for n in range(n_nodes)]


def test_among_a_few_free_nodes_the_very_best_is_taken() -> None:
    node_states = busy_nodes(EXACT)
    best = min(node_states, key=lambda node_state: node_state.n_acquired)
    assert {picked(node_states, a_question(tie_key=f"j{n}/1")) for n in range(50)} == {best}


def test_among_a_thousand_of_the_same_speed_the_choice_is_a_good_one_and_the_same_every_time() -> None:
    node_states = busy_nodes(1_000)
    order = sorted(node_states, key=lambda node_state: node_state.n_acquired)
    question = a_question()
    candidates = groups_of(node_states).candidates(question.demand)

    def went(number: int) -> NodeState | None:
        return RankingPolicy().place(a_question(tie_key=f"j{number}/1"), candidates).node_state

    picks = [went(number) for number in range(500)]
    assert picks == [went(number) for number in range(500)]
    assert sum(order.index(pick) for pick in picks if pick) / 500 == pytest.approx(1_000 / (SAMPLE + 1), rel=0.25)


def test_the_one_fast_node_that_is_free_is_found_among_a_thousand() -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(1_000)]
    book = a_book(**{f"node_{n}": 1.0 for n in range(1_000)} | {"node_613": 4.0})
    for node_state in node_states:
        node_state.speed_class = book.class_of(node_state.node)
    for number in range(20):
        assert picked(node_states, a_question(speeds=book, tie_key=f"j{number}/1")) is node_states[613]


@pytest.mark.parametrize("what", ["affine_node", "colocated_node"])
def test_the_node_of_the_session_and_the_one_for_colocation_are_found_among_a_thousand(what: str) -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(1_000)]
    for number in range(20):
        question = a_question(audio_ms=10, tie_key=f"j{number}/1", **{what: "node-700"})
        assert picked(node_states, question) is node_states[700]


def test_the_one_node_that_is_willing_is_found_among_a_thousand() -> None:
    node_states = [a_node_state(f"node-{n}") for n in range(1_000)]
    for node_state in node_states:
        node_state.resting_until_ms = 0 if node_state.node == "node-3" else 50
    assert picked(node_states, a_question()) is node_states[3]
    node_states[3].resting_until_ms = 50
    assert picked(node_states, a_question()) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0, 4.0]), st.integers(0, 5)), max_size=12))
def test_the_node_that_is_picked_is_the_best_of_those_that_nothing_speaks_against(
    nodes: list[tuple[int, float, int]],
) -> None:
    """One function picks and explains, so it cannot say one thing and do another."""
    node_states = [a_node_state(f"node-{n}", slots=3, busy=busy) for n, (busy, _, _) in enumerate(nodes)]
    for node_state, (_, _, until_ms) in zip(node_states, nodes, strict=True):
        node_state.resting_until_ms = until_ms
    book = a_book(**{f"node_{n}": speed for n, (_, speed, _) in enumerate(nodes)})
    placement = place(node_states, a_question(speeds=book, now_ms=3))
    assert {*placement.reasons, *placement.scores} == {node_state.node for node_state in node_states}
    assert set(placement.reasons).isdisjoint(placement.scores)
    best = min((score.total for score in placement.scores.values()), default=None)
    assert (placement.node_state is None) == (best is None)
    if placement.node_state:
        assert placement.scores[placement.node_state.node].total == best


# --- a policy of one's own


def test_a_newcomer_counts_as_slower_for_what_is_beyond_its_share() -> None:
    rules = SelectionRules(newcomer_penalty=4.0, busy_penalty=0.0)
    old, new = a_node_state("node-old", slots=4, busy=2), a_node_state("node-new", slots=4)
    new.begin_slowly()
    speeds = a_book(node_old=1.0, node_new=3.0)
    assert picked([old, new], a_question(speeds=speeds, rules=rules)) is new, "one job is its share"
    new.acquire(("j0", 1), 1_000)
    assert picked([old, new], a_question(speeds=speeds, rules=rules)) is old
    assert place([old, new], a_question(speeds=speeds, rules=rules)).scores["node-new"].parts["slow_start"] == 4.0
    much_faster = a_book(node_old=1.0, node_new=5.0)
    assert picked([old, new], a_question(speeds=much_faster, rules=rules)) is new
    assert picked([new], a_question(speeds=speeds, rules=rules)) is new, "nobody else is there"


def never_the_first(node_state: NodeState, _q: Question) -> Reason | None:
    return Reason.TENANT_MISMATCH if node_state.node == "node-a" else None


def prefers_the_last(node_state: NodeState, _q: Question) -> float:
    return -float(ord(node_state.node[-1]))


def test_filters_and_scores_can_be_added_to_the_policy() -> None:
    node_states = [a_node_state(f"node-{name}") for name in "abc"]
    question = a_question(speeds=SpeedBook(RULES))
    candidates = groups_of(node_states).candidates(question.demand)
    choosy = RankingPolicy(filters=(*FILTERS, never_the_first))
    placement = choosy.place(question, candidates, is_explained=True)
    assert placement.reasons == {"node-a": Reason.TENANT_MISMATCH}
    assert placement.node_state in node_states[1:]
    assert RankingPolicy(scores=(*SCORES, prefers_the_last)).place(question, candidates).node_state is node_states[2]


class FirstComes:
    """Takes the first node with a free slot, and tells nobody why."""

    def place(self, q: Question, candidates: Candidates, *, is_explained: bool = False) -> Placement:
        del q, is_explained
        return Placement(next(iter(candidates.free()), None))


def test_the_brain_places_by_the_policy_that_it_is_given() -> None:
    harness = DispatchHarness(policy=FirstComes())
    harness.offer(*(a_node(f"node-{n}", slots=3) for n in range(4)))
    assert {harness.job(harness.submit(f"r{n}")).node for n in range(3)} == {"node-0"}
