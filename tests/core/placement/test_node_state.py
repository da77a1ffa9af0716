"""A node in the Dispatcher's eyes: its slots, its failures, its refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.leases.lease import LeaseError
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.rules import SelectionRules
from tests.support.builders import ENGLISH
from tests.support.placement import RULES, a_node_state


@given(
    st.lists(
        st.tuples(st.sampled_from(["lease", "revoke", "expire", "acquire", "acquire", "release"]), st.integers(0, 5)),
        max_size=60,
    )
)
@settings(max_examples=200, deadline=None)
def test_a_node_is_never_oversold_and_never_loses_a_slot(steps: list[tuple[str, int]]) -> None:
    """``never_oversold`` for one node, whatever the pool and the jobs do."""
    node_state = NodeState("node-a", 1, ENGLISH)
    offered = 0
    for number, (what, n) in enumerate(steps):
        if what == "lease":
            offered = 4
            node_state.lease(4, number + 5)
        elif what == "revoke":
            offered = 0
            node_state.lease(0, number + 5)
        elif what == "expire":
            node_state.expire(number)
            offered = offered if number < node_state.term_ends_at_ms else 0
        elif what == "acquire" and node_state.n_free:
            node_state.acquire((f"j{number}", 1), 10)
        elif what == "release" and node_state.attempts():
            attempt = node_state.attempts()[n % node_state.n_acquired]
            assert node_state.release(attempt)
            assert not node_state.release(attempt)
        assert node_state.n_acquired <= 4
        assert node_state.n_free == max(0, offered - node_state.n_acquired)
        assert node_state.in_flight_ms == 10 * node_state.n_acquired


def test_without_a_free_slot_nothing_can_be_acquired() -> None:
    node_state = a_node_state(slots=1)
    node_state.acquire(("x", 1), 0)
    with pytest.raises((IndexError, LeaseError)):
        node_state.acquire(("y", 1), 0)
    assert (node_state.n_free, node_state.attempts()) == (0, [("x", 1)])


# --- leases


def test_leases_last_until_their_term_is_over() -> None:
    node_state = a_node_state(slots=2)
    node_state.acquire(("j", 1), 10)
    node_state.expire(9_999)
    assert (node_state.n_free, node_state.n_leased) == (1, 2)
    node_state.expire(10_000)
    assert (node_state.n_free, node_state.n_leased, node_state.n_acquired) == (0, 1, 1)
    node_state.release(("j", 1))
    assert (node_state.n_free, node_state.n_leased, node_state.in_flight_ms) == (0, 0, 0)


def test_a_smaller_offer_takes_free_slots_at_once_and_the_others_when_they_are_released() -> None:
    node_state = a_node_state(slots=3)
    node_state.acquire(("j", 1), 10)
    node_state.lease(1, 20_000)
    assert (node_state.n_free, node_state.n_acquired) in {(1, 1), (0, 1)}
    node_state.release(("j", 1))
    assert (node_state.n_free, node_state.n_leased) == (1, 1)


def test_a_slot_goes_to_the_attempt_that_the_node_has_already() -> None:
    node_state = a_node_state(slots=2)
    assert node_state.adopt(("j", 1), 10)
    assert (node_state.n_free, node_state.n_acquired, node_state.in_flight_ms) == (1, 1, 10)
    assert node_state.holds(("j", 1))
    assert not node_state.holds(("j", 2))


def test_attempts_are_adopted_without_leases_up_to_the_number_of_slots() -> None:
    node_state = a_node_state(slots=2)
    node_state.lease(0, 10_000)
    assert [node_state.adopt(("j", number), 10) for number in (1, 2, 3)] == [True, True, False]
    assert (node_state.n_free, node_state.n_acquired, node_state.in_flight_ms) == (0, 2, 20)
    node_state.release(("j", 1))
    assert (node_state.n_free, node_state.n_leased, node_state.in_flight_ms) == (0, 1, 10), "its slot was never leased"
    node_state.lease(2, 20_000)
    node_state.release(("j", 2))
    assert (node_state.n_free, node_state.n_leased) == (2, 2), "its slot has been leased meanwhile"


def test_whoever_watches_is_told_of_every_change_of_leases() -> None:
    told = []
    node_state = a_node_state(slots=2)
    node_state.watch(lambda each: told.append((each.n_free, each.n_leased)))
    node_state.acquire(("j", 1), 0)
    node_state.release(("j", 1))
    assert not node_state.release(("j", 1))
    node_state.adopt(("j", 2), 0)
    node_state.expire(9_999)
    node_state.expire(10_000)
    node_state.adopt(("j", 3), 0)
    node_state.lease(2, 20_000)
    assert told == [(1, 2), (2, 2), (1, 2), (0, 1), (0, 2), (0, 2)]
    node_state.watch(None)
    node_state.release(("j", 2))
    assert len(told) == 6


def test_a_reservation_ends_when_its_job_leaves_its_slot_and_not_with_another_one() -> None:
    node_state = a_node_state(slots=2)
    node_state.acquire(("other", 1), 0)
    node_state.reserve_for("mine")
    node_state.release(("other", 1))
    assert node_state.reserved_for == "mine"
    node_state.acquire(("mine", 2), 0)
    node_state.release(("mine", 2))
    assert node_state.reserved_for == ""


# --- failures and refusals


def outcomes(node_state: NodeState, *ends: bool, now_ms: int = 100) -> list[bool]:
    """After which of these ends the node was put in quarantine."""
    return [node_state.record_outcome(is_success=is_success, now_ms=now_ms, rules=RULES) for is_success in ends]


def test_three_failures_in_a_row_put_a_node_in_quarantine_for_its_time() -> None:
    node_state = a_node_state()
    assert outcomes(node_state, False, False) == [False, False]
    assert node_state.quarantined_until_ms == 0
    assert outcomes(node_state, False) == [True]
    assert node_state.quarantined_until_ms == 100 + RULES.quarantine_ms


def test_a_success_in_between_ends_the_row() -> None:
    rules = SelectionRules(quarantine_failures_in_a_row=2, quarantine_failures_of_last_5=5)
    node_state = a_node_state()
    ends = [False, True, False, True, False, False]
    told = [node_state.record_outcome(is_success=is_success, now_ms=0, rules=rules) for is_success in ends]
    assert told == [False] * 5 + [True]


def test_three_failures_of_the_last_five_are_too_many_and_of_six_they_are_not() -> None:
    rules = SelectionRules(quarantine_failures_in_a_row=9, quarantine_failures_of_last_5=3)
    node_state = a_node_state()
    ends = [False, False, True, True, True, False, True, False, True, False]
    told = [node_state.record_outcome(is_success=is_success, now_ms=0, rules=rules) for is_success in ends]
    assert told == [False] * 9 + [True]


def test_a_success_never_puts_a_node_in_quarantine() -> None:
    rules = SelectionRules(quarantine_failures_in_a_row=1, quarantine_failures_of_last_5=1)
    assert not a_node_state().record_outcome(is_success=True, now_ms=0, rules=rules)


def test_after_its_quarantine_a_node_begins_with_a_clean_slate() -> None:
    node_state = a_node_state()
    outcomes(node_state, False, False, False)
    assert outcomes(node_state, False, False) == [False, False]
    assert outcomes(node_state, False, now_ms=200) == [True]
    assert node_state.quarantined_until_ms == 200 + RULES.quarantine_ms


def test_a_node_is_left_alone_twice_as_long_after_each_refusal_in_a_row_and_never_longer_than_1600_ms() -> None:
    node_state = a_node_state()
    rests = []
    for now_ms in range(1_000, 8_000, 1_000):
        node_state.back_off_after_refusal(now_ms, RULES)
        rests.append(node_state.resting_until_ms - now_ms)
    assert rests == [50, 100, 200, 400, 800, 1_600, 1_600]


def test_a_node_that_takes_a_job_again_is_left_alone_for_as_short_as_at_first() -> None:
    node_state = a_node_state()
    for _ in range(3):
        node_state.back_off_after_refusal(0, RULES)
    node_state.record_acceptance()
    node_state.back_off_after_refusal(1_000, RULES)
    assert node_state.resting_until_ms == 1_050


def test_of_a_node_no_pool_has_offered_yet_there_is_no_slot_and_it_is_not_ready() -> None:
    node_state = NodeState("node-a", 1, ENGLISH)
    assert (node_state.n_leased, node_state.n_free, node_state.n_acquired, node_state.why) == (0, 0, 0, "NOT_READY")
    assert (node_state.busy_part, node_state.in_flight_ms, node_state.reserved_for) == (0.0, 0, "")
    assert not node_state.adopt(("j1", 1), 1_000)


def test_a_newcomer_is_trusted_with_one_slot_and_with_twice_as_many_after_each_run_that_ends_well() -> None:
    node_state = a_node_state(slots=5)
    node_state.begin_slowly()
    shares = []
    for n in range(5):
        while not node_state.is_beyond_its_share and node_state.n_free:
            node_state.acquire((f"{n}-{node_state.n_acquired}", 1), 1_000)
        shares.append(node_state.n_acquired)
        node_state.record_outcome(is_success=n != 1, now_ms=0, rules=RULES)
    assert shares == [1, 2, 2, 4, 5], "the second run has failed"


def test_a_node_that_was_there_before_is_trusted_with_all_its_slots() -> None:
    assert not a_node_state(slots=3, busy=3).is_beyond_its_share
