"""Threads for calls that may hang."""

import asyncio
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from ray_sched.client.threads import Threads


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Does not happen before the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def test_calls_that_hang_hold_up_no_other() -> None:
    threads, over = Threads("t", n_working=2), threading.Event()
    hanging = [asyncio.ensure_future(threads.run(over.wait)) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await threads.run(lambda: 7) == 7
    over.set()
    assert await asyncio.gather(*hanging) == [True] * 20


async def test_calls_that_do_not_hang_share_few_threads() -> None:
    threads = Threads("few", n_working=3)
    names = await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(500)))
    assert len(set(names)) <= 3


async def test_there_are_no_more_threads_than_the_bound_and_calls_wait_for_one(never: threading.Event) -> None:
    threads = Threads("bound", n_working=1, n_most=3)
    waiting = [asyncio.ensure_future(threads.run(never.wait)) for _ in range(5)]
    await asyncio.wait(waiting, timeout=1)
    assert sum(thread.name == "bound" for thread in threading.enumerate()) == 3
    for one in waiting:
        one.cancel()


async def test_a_call_whose_waiter_has_gone_is_not_begun(never: threading.Event) -> None:
    threads, begun = Threads("gone", n_working=1, n_most=1), list[int]()
    first = asyncio.ensure_future(threads.run(never.wait))
    second = asyncio.ensure_future(threads.run(lambda: begun.append(2)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    never.set()
    await first
    await threads.run(lambda: begun.append(3))
    assert begun == [3]


async def test_what_a_call_raises_is_raised_where_it_is_awaited_and_its_thread_lives_on() -> None:
    threads = Threads("raising", n_working=1)

    def divide() -> float:
        return 1 / 0

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run(divide)
    assert sum(thread.name == "raising" for thread in threading.enumerate()) == 1


def test_an_end_of_the_program_waits_for_no_call() -> None:
    threads = Threads("daemon", n_working=1)
    done = threads.submit(lambda: threading.current_thread().daemon)
    assert done.result(timeout=5)


async def test_a_result_is_not_kept_by_its_thread() -> None:
    class Large:
        pass

    threads = Threads("large", n_working=1)
    large = await threads.run(Large)
    seen = weakref.ref(large)
    del large
    deadline_s = time.monotonic() + 5
    while seen() is not None and time.monotonic() < deadline_s:  # noqa: ASYNC110  # a thread tells nobody
        await asyncio.sleep(0.01)
    assert seen() is None
