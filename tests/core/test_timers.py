"""Time as data: what is due, in order, once."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.timers import DueQueue, Schedule, Tick


def test_what_is_due_comes_once_and_earliest_first() -> None:
    due: DueQueue[str] = DueQueue()
    due.set("b", 20)
    due.set("a", 10)
    due.set("c", 30)
    assert (due.pop_due(9), due.pop_due(20), due.pop_due(20), due.pop_due(99)) == ([], ["a", "b"], [], ["c"])


def test_setting_a_key_again_moves_it_and_cancelling_removes_it() -> None:
    due: DueQueue[str] = DueQueue()
    due.set("a", 10)
    due.set("a", 30)
    due.set("b", 10)
    due.cancel("b")
    due.cancel("never set")
    assert (due.pop_due(20), len(due), due.pop_due(30), len(due)) == ([], 1, ["a"], 0)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-1, 50)), max_size=400))
@settings(max_examples=60, deadline=None)
def test_a_due_queue_is_a_dictionary_of_times(steps: list[tuple[str, int]]) -> None:
    due: DueQueue[str] = DueQueue()
    model: dict[str, int] = {}
    for key, at_ms in steps:
        if at_ms < 0:
            due.cancel(key)
            model.pop(key, None)
        else:
            due.set(key, at_ms)
            model[key] = at_ms
    assert len(due) == len(model)
    popped = due.pop_due(25)
    assert set(popped) == {key for key, at_ms in model.items() if at_ms <= 25}
    assert [model[key] for key in popped] == sorted(model[key] for key in popped)


def test_a_tick_that_was_missed_is_told_once() -> None:
    tick = Tick("dispatcher", "sweep", 100)
    schedule = Schedule([tick], now_ms=0)
    assert (schedule.due(99), schedule.due(100), schedule.due(150)) == ([], [tick], [])
    assert (schedule.due(1_000), schedule.due(1_001)) == ([tick], [])
    assert schedule.next_due_ms() <= 1_100


def test_ticks_keep_their_own_rhythm() -> None:
    quick, slow = Tick("dispatcher", "sweep", 100), Tick("dispatcher", "cleanup", 300)
    schedule = Schedule([quick, slow], now_ms=0)
    told = [tick.what for now_ms in range(0, 601, 50) for tick in schedule.due(now_ms)]
    assert (told.count("sweep"), told.count("cleanup")) == (6, 2)


def test_a_key_that_is_set_again_and_again_is_due_at_its_last_time_and_the_others_at_theirs() -> None:
    due: DueQueue[str] = DueQueue()
    due.set("early", 10)
    due.set("late", 900)
    for at_ms in range(20, 520):
        due.set("moves", at_ms)
    assert len(due) == 3
    assert [due.pop_due(now_ms) for now_ms in (10, 518, 519, 899, 900)] == [["early"], [], ["moves"], [], ["late"]]


def test_a_key_that_is_set_all_day_takes_no_more_room() -> None:
    due: DueQueue[str] = DueQueue()
    tracemalloc.start()
    for at_ms in range(1_000_000, 1_005_000):
        due.set("moves", at_ms)
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_bytes < 50_000, "each time that is kept takes about 150"


def test_what_is_due_at_one_time_comes_in_the_order_in_which_it_was_set() -> None:
    due: DueQueue[str] = DueQueue()
    for key in ("c", "a", "b"):
        due.set(key, 10)
    due.set("c", 10)
    assert due.pop_due(10) == ["a", "b", "c"]


def test_a_schedule_knows_when_its_next_tick_is_due() -> None:
    quick, slow = Tick("dispatcher", "sweep", 100), Tick("dispatcher", "cleanup", 250)
    schedule = Schedule([slow, quick], now_ms=1_000)
    assert (schedule.next_due_ms(), schedule.due(1_100), schedule.next_due_ms()) == (1_100, [quick], 1_200)
    assert (schedule.due(1_250), schedule.next_due_ms()) == ([quick, slow], 1_300)
    assert (schedule.due(1_299), schedule.due(1_300)) == ([], [quick])


@pytest.mark.parametrize(("told_at_ms", "next_ms"), [(199, 200), (200, 300), (1_000, 1_100)])
def test_a_tick_that_is_told_late_keeps_its_rhythm_unless_it_was_missed(told_at_ms: int, next_ms: int) -> None:
    schedule = Schedule([Tick("dispatcher", "sweep", 100)], now_ms=0)
    schedule.due(told_at_ms)
    assert schedule.next_due_ms() == next_ms
