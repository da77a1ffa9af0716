"""Time as data: what is due, in order, once."""

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
