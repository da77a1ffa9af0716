"""Delivery: in order, gaps announced, late ones marked, nothing dropped, however large the indexes are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.delivery.order import (
    DELIVERY_TABLE,
    Deliver,
    Delivery,
    DeliveryError,
    Gap,
    IndexEvent,
    IndexState,
)


def in_state(state: IndexState) -> tuple[Delivery[str], int]:
    """A delivery with index 1 in this state."""
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    if state is IndexState.DELIVERED:
        delivery.ready(0, "a", 0)
    if state in {IndexState.HELD, IndexState.DELIVERED}:
        delivery.ready(1, "b", 0)
    if state is IndexState.MISSING:
        delivery.ready(2, "c", 0)
        delivery.announce(5_000)
    return delivery, 1


@pytest.mark.parametrize("state", IndexState)
def test_an_index_becomes_ready_by_the_table_or_changes_nothing(state: IndexState) -> None:
    delivery, index = in_state(state)
    assert delivery.state(index) is state
    row = DELIVERY_TABLE[state]
    if IndexEvent.READY_EARLY in row or IndexEvent.READY_IN_ORDER in row:
        delivery.ready(index, "x", 9_000)
        assert delivery.state(index) in row.values()
    else:
        before = (delivery.next_index, delivery.n_held, delivery.due_at_ms)
        with pytest.raises(DeliveryError):
            delivery.ready(index, "x", 9_000)
        assert delivery.state(index) is state
        assert (delivery.next_index, delivery.n_held, delivery.due_at_ms) == before


@pytest.mark.parametrize("state", IndexState)
def test_an_index_is_tried_again_by_the_table_or_nothing_changes(state: IndexState) -> None:
    delivery, index = in_state(state)
    to = DELIVERY_TABLE[state].get(IndexEvent.TRIED_AGAIN)
    if to is None:
        with pytest.raises(DeliveryError, match=f"utterance 1 is {state} and cannot be tried again"):
            delivery.try_again(index)
    else:
        delivery.try_again(index)
    assert delivery.state(index) is (to or state)


def test_a_held_result_that_is_tried_again_is_dropped_and_nothing_is_due_for_it() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(1, "failed", 0)
    assert delivery.held(1) == "failed"
    delivery.try_again(1)
    assert (delivery.held(1), delivery.n_held, delivery.due_at_ms) == (None, 0, None)
    delivery.ready(2, "c", 1_000)
    assert delivery.ready(0, "a", 2_000) == [Deliver("a", is_late=False)]
    assert delivery.ready(1, "b", 3_000) == [Deliver("b", is_late=False), Deliver("c", is_late=False)]


def test_a_delivered_result_that_is_tried_again_is_late_and_only_once() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    for index in range(3):
        delivery.ready(index, "failed", 0)
    for index in (2, 0):
        delivery.try_again(index)
    assert delivery.ready(0, "a", 9) == [Deliver("a", is_late=True)]
    assert delivery.ready(3, "d", 9) == [Deliver("d", is_late=False)]
    assert delivery.ready(2, "c", 9) == [Deliver("c", is_late=True)]
    with pytest.raises(DeliveryError):
        delivery.ready(2, "again", 9)


def test_a_result_that_is_ready_too_early_waits_for_the_one_before_it() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    assert delivery.ready(1, "b", 0) == []
    assert delivery.ready(0, "a", 10) == [Deliver("a", is_late=False), Deliver("b", is_late=False)]
    assert delivery.due_at_ms is None


def test_a_gap_is_announced_when_something_was_held_long_enough_and_not_before() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(3, "d", 1_000)
    delivery.ready(4, "e", 2_000)
    assert delivery.due_at_ms == 6_000
    assert delivery.announce(5_999) == []
    assert delivery.announce(6_000) == [Gap(0, 2), Deliver("d", is_late=False), Deliver("e", is_late=False)]


def test_what_comes_after_its_gap_was_announced_is_late_and_the_others_stay_missing() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(3, "d", 0)
    delivery.announce(5_000)
    assert delivery.ready(1, "b", 6_000) == [Deliver("b", is_late=True)]
    assert [delivery.state(index) for index in range(4)] == [
        IndexState.MISSING,
        IndexState.DELIVERED,
        IndexState.MISSING,
        IndexState.DELIVERED,
    ]


def test_the_wait_for_a_second_gap_starts_when_the_first_has_been_announced() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(1, "b", 0)
    delivery.ready(3, "d", 4_000)
    assert delivery.announce(5_000) == [Gap(0, 0), Deliver("b", is_late=False)]
    assert delivery.due_at_ms == 10_000


def test_an_absurd_index_costs_nothing() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(2**53, "far", 0)
    assert delivery.announce(5_000) == [Gap(0, 2**53 - 1), Deliver("far", is_late=False)]
    assert delivery.ready(7, "late", 6_000) == [Deliver("late", is_late=True)]


@given(st.permutations(range(6)), st.lists(st.integers(0, 3_000), min_size=6, max_size=6))
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_every_result_is_delivered_once_and_those_not_late_in_order(
    order: list[int], pauses: list[int]
) -> None:
    delivery: Delivery[int] = Delivery(gap_wait_ms=5_000)
    now_ms, released = 0, []
    for index, pause_ms in zip(order, pauses, strict=True):
        now_ms += pause_ms
        released += delivery.announce(now_ms)
        released += delivery.ready(index, index, now_ms)
    released += delivery.announce(now_ms + 5_000)
    in_turn = [what.item for what in released if isinstance(what, Deliver) and not what.is_late]
    assert sorted(what.item for what in released if isinstance(what, Deliver)) == list(range(6))
    assert in_turn == sorted(in_turn)
    assert delivery.n_held == 0


def test_a_session_that_begins_further_on_lets_go_what_it_held_before_and_behind_that() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    for index in (2, 5, 7):
        delivery.ready(index, f"of {index}", 0)
    assert delivery.begin_at(5) == [Deliver("of 2", is_late=False), Deliver("of 5", is_late=False)]
    assert (delivery.next_index, delivery.n_held, delivery.due_at_ms) == (6, 1, 5_000)
    assert delivery.begin_at(5) == delivery.begin_at(0) == []
    assert delivery.begin_at(7) == [Deliver("of 7", is_late=False)]
    assert (delivery.next_index, delivery.n_held, delivery.due_at_ms) == (8, 0, None)
    assert released(delivery, 4, 0, 6, 3, 1) == [late(4), late(0), late(6), late(3), late(1)]


@given(st.permutations(range(8)), st.lists(st.integers(0, 12), min_size=8, max_size=8))
@settings(max_examples=150, deadline=None)
def test_wherever_a_session_goes_on_every_result_is_delivered_once_and_those_not_late_in_order(
    order: list[int], begins: list[int]
) -> None:
    delivery: Delivery[int] = Delivery(gap_wait_ms=5_000)
    out: list[Deliver[int]] = []
    for index, begin in zip(order, begins, strict=True):
        out += [what for what in delivery.ready(index, index, 0) if isinstance(what, Deliver)]
        if begin % 3 == 0:
            out += delivery.begin_at(begin)
            assert delivery.next_index >= begin
    out += delivery.begin_at(8)
    in_turn = [what.item for what in out if not what.is_late]
    assert sorted(what.item for what in out) == list(range(8))
    assert in_turn == sorted(in_turn)
    assert (delivery.n_held, delivery.due_at_ms) == (0, None)


def released(delivery: Delivery[str], *indexes: int) -> list[Deliver[str] | Gap]:
    return [what for index in indexes for what in delivery.ready(index, f"of {index}", 9_000)]


def late(index: int) -> Deliver[str]:
    return Deliver(f"of {index}", is_late=True)


def test_several_gaps_are_filled_in_any_order_each_index_once() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    for index, now_ms in ((4, 0), (8, 5_000), (9, 5_000)):
        delivery.ready(index, "x", now_ms)
    assert [what for what in delivery.announce(5_000) if isinstance(what, Gap)] == [Gap(0, 3)]
    assert [what for what in delivery.announce(10_000) if isinstance(what, Gap)] == [Gap(5, 7)]
    missing = [index for index in range(11) if delivery.state(index) is IndexState.MISSING]
    assert missing == [0, 1, 2, 3, 5, 6, 7]
    assert released(delivery, 2, 7, 0, 6, 3, 5, 1) == [late(2), late(7), late(0), late(6), late(3), late(5), late(1)]
    assert [delivery.state(index) for index in range(10)] == [IndexState.DELIVERED] * 10
    for index in range(10):
        with pytest.raises(DeliveryError, match=f"utterance {index} is delivered and cannot become ready again"):
            delivery.ready(index, "x", 9_000)
    assert (delivery.next_index, delivery.state(10)) == (10, IndexState.AWAITED)


def test_a_delivery_that_is_resumed_goes_on_at_its_index_and_knows_what_was_missing() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.resume(5, [3, 1])
    assert [delivery.state(index) for index in range(6)] == [
        IndexState.DELIVERED,
        IndexState.MISSING,
        IndexState.DELIVERED,
        IndexState.MISSING,
        IndexState.DELIVERED,
        IndexState.AWAITED,
    ]
    assert released(delivery, 3, 5, 1) == [late(3), Deliver("of 5", is_late=False), late(1)]
    assert (delivery.next_index, delivery.due_at_ms) == (6, None)


def test_a_gap_is_due_so_long_after_the_first_result_behind_it_and_anew_after_each_release() -> None:
    delivery: Delivery[str] = Delivery(gap_wait_ms=5_000)
    delivery.ready(1, "b", 1_000)
    delivery.ready(3, "d", 2_000)
    first_due_at_ms = delivery.due_at_ms
    delivery.ready(0, "a", 3_000)
    second_due_at_ms = delivery.due_at_ms
    assert (first_due_at_ms, second_due_at_ms, delivery.next_index, delivery.n_held) == (6_000, 8_000, 2, 1)
    delivery.ready(2, "c", 4_000)
    assert (delivery.next_index, delivery.n_held, delivery.due_at_ms) == (4, 0, None)
    assert delivery.announce(99_000) == []
