"""The queue: who is first, while keys grow unnoticed and members come to stand for nothing."""

import random

import pytest

from ray_sched.core.queue.priority_queue import PriorityQueue


@pytest.mark.parametrize("n_left_behind", range(150))
def test_who_is_first_is_found_while_the_queue_is_compacted(n_left_behind: int) -> None:
    keys = {f"gone-{n}": (n,) for n in range(10)} | {"a": (20,), "b": (21,)}
    queue: PriorityQueue[tuple[int], str] = PriorityQueue(keys.get)
    for member in keys:
        queue.enqueue(member)
    for key in range(2_000, 2_000 - n_left_behind, -1):  # one that moves forward leaves something behind each time
        keys["c"] = (key,)
        queue.enqueue("c")
    for n in range(10):
        del keys[f"gone-{n}"]
    keys |= {"a": (50,), "b": (31,)}
    assert queue.head() == ((31,), "b")


@pytest.mark.parametrize("seed", range(20))
def test_it_answers_as_if_everybody_was_asked(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # the same every time
    keys: dict[str, tuple[int, int]] = {}
    queue: PriorityQueue[tuple[int, int], str] = PriorityQueue(keys.get)
    for number in range(2_000):
        name = f"m{rng.randint(0, 40)}"
        match rng.randint(0, 5):
            case 0 | 1:
                keys[name] = (rng.randint(0, 99), number)
                queue.enqueue(name)
            case 2 if name in keys:
                keys[name] = (keys[name][0] + rng.randint(0, 50), number)
            case 3 | 4:
                keys.pop(name, None)
            case 5 if rng.random() < 0.2:
                assert queue.head() == min(((key, member) for member, key in keys.items()), default=None)
    while keys:
        head = queue.head()
        assert head == min((key, member) for member, key in keys.items())
        assert queue.last_head() == head[1]
        del keys[head[1]]
    assert queue.head() is None


def test_who_enqueues_is_answered_whether_the_head_may_have_changed() -> None:
    keys: dict[str, tuple[int]] = {"a": (5,), "b": (7,)}
    queue: PriorityQueue[tuple[int], str] = PriorityQueue(keys.get)
    assert [queue.enqueue(member) for member in ("a", "b", "a", "nobody")] == [True, True, False, False]
    keys["a"] = (6,)
    assert (queue.enqueue("a"), queue.head()) == (False, ((6,), "a"))
    keys["b"] = (4,)
    assert (queue.enqueue("b"), queue.head(), len(queue)) == (True, ((4,), "b"), 2)
    queue.remove("b")
    queue.remove("nobody")
    assert (queue.head(), len(queue)) == (((6,), "a"), 1)
    queue.clear()
    assert (queue.head(), len(queue)) == (None, 0)
