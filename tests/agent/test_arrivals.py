"""What threads bring to the event loop."""

import asyncio
import threading
from functools import partial

from ray_sched.agent.arrivals import Arrivals


async def test_what_many_threads_put_is_called_once_each_and_in_the_order_of_each_thread() -> None:
    arrivals = Arrivals()
    heard: list[tuple[int, int]] = []
    done = asyncio.Event()

    def handle(thread: int, number: int) -> None:
        heard.append((thread, number))
        if len(heard) == 8 * 500:
            done.set()

    def put_all(thread: int) -> None:
        for number in range(500):
            arrivals.put(partial(handle, thread, number))

    threads = [threading.Thread(target=put_all, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(10):
        await done.wait()
    for thread in threads:
        thread.join()
    assert sorted(heard) == [(thread, number) for thread in range(8) for number in range(500)]
    for n in range(8):
        assert [number for thread, number in heard if thread == n] == list(range(500))


async def test_many_calls_wake_the_loop_once() -> None:
    arrivals = Arrivals()
    heard: list[int] = []
    for number in range(3):
        arrivals.put(partial(heard.append, number))
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [0, 1, 2]
