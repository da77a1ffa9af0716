"""A window over items: no more than fit, in the order that was asked for, and nothing waits for what has not come."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ray_sched.client.streams import windowed


async def negative(number: int) -> int:
    await asyncio.sleep(0)
    return -number


async def counted(n_items: int) -> AsyncIterator[int]:
    for number in range(n_items):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_each_item_has_one_result(order: str, is_async: bool) -> None:  # noqa: FBT001  # a parameter of the test
    items = counted(20) if is_async else range(20)
    results = [result async for result in windowed(items, negative, lambda: 3, order)]  # type: ignore[arg-type]
    assert sorted(results, reverse=True) == [-number for number in range(20)]
    assert order == "completion" or results == sorted(results, reverse=True)


async def test_nothing_has_no_result() -> None:
    assert [result async for result in windowed((), negative, lambda: 3, "input")] == []
    assert [result async for result in windowed(counted(0), negative, lambda: 3, "completion")] == []


@pytest.mark.parametrize("order", ["completion", "input"])
async def test_a_result_does_not_wait_for_the_next_item_of_a_slow_source(order: str) -> None:
    may_go_on = asyncio.Event()

    async def slow() -> AsyncIterator[int]:
        yield 1
        await may_go_on.wait()
        yield 2

    stream = windowed(slow(), negative, lambda: 8, order)  # type: ignore[arg-type]  # a parameter of the test
    async with asyncio.timeout(5):
        assert await anext(stream) == -1
        may_go_on.set()
        assert [result async for result in stream] == [-2]


async def test_the_next_item_is_taken_only_when_there_is_room() -> None:
    taken: list[int] = []

    async def watched() -> AsyncIterator[int]:
        async for number in counted(20):
            taken.append(number)
            yield number

    n_yielded = 0
    async for _ in windowed(watched(), negative, lambda: 3, "input"):
        n_yielded += 1
        assert len(taken) <= n_yielded + 3
    assert n_yielded == 20


async def test_leaving_the_loop_cancels_what_runs_and_what_is_awaited() -> None:
    begun, cancelled = asyncio.Semaphore(0), list[str]()

    async def for_ever(what: str) -> int:
        begun.release()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(what)
        return 0

    async def source() -> AsyncIterator[int]:
        yield 0
        yield 1
        await for_ever("the item")
        yield 2

    async def run(number: int) -> int:
        return await for_ever("the run") if number else 0

    stream = windowed(source(), run, lambda: 8, "input")
    assert await anext(stream) == 0
    waiting = asyncio.ensure_future(anext(stream))
    await begun.acquire()
    await begun.acquire()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert sorted(cancelled) == ["the item", "the run"]
