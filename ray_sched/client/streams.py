"""Streams of results: a session's, and those of a windowed map."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar

from ray_sched.client.results import Missing, Result

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class SessionStream:
    """``async for what in client.session("s1")``: a Result or a Missing at a time, in the order of the session."""

    def __init__(self, name: str, forget: Callable[["SessionStream"], Any]) -> None:
        """``forget`` is called once, when the stream ends."""
        self.name = name
        self._forget = forget
        self._queue: asyncio.Queue[Result | Missing | None] = asyncio.Queue()
        self._is_ended = False

    def __aiter__(self) -> "SessionStream":
        return self

    async def __anext__(self) -> Result | Missing:
        what = await self._queue.get()
        if what is None:
            self._queue.put_nowait(None)  # for whoever else waits, or asks again
            raise StopAsyncIteration
        return what

    def put(self, what: Result | Missing) -> None:
        """Something was delivered. Called by the client."""
        self._queue.put_nowait(what)

    def end(self) -> None:
        """Nothing more is wanted: iteration ends after what was delivered, and the client forgets the stream.

        The end of the client is the end of its streams; a second end changes nothing.
        """
        if not self._is_ended:
            self._is_ended = True
            self._queue.put_nowait(None)
            self._forget(self)


async def windowed(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    run: Callable[[ItemT], Awaitable[ResultT]],
    window: Callable[[], int],
    order: Literal["completion", "input"],
) -> AsyncIterator[ResultT]:
    """Run items, ``window()`` at a time, and yield their results; takes the next item only when there is room."""
    source = _as_async(items)
    tasks: deque[asyncio.Future[ResultT]] = deque()
    is_exhausted = False
    try:
        while tasks or not is_exhausted:
            while not is_exhausted and len(tasks) < window():
                try:
                    tasks.append(asyncio.ensure_future(run(await anext(source))))
                except StopAsyncIteration:
                    is_exhausted = True
            for task in await _next_done(tasks, order):
                tasks.remove(task)
                yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _next_done(
    tasks: "deque[asyncio.Future[ResultT]]", order: Literal["completion", "input"]
) -> "list[asyncio.Future[ResultT]]":
    if not tasks:
        return []
    if order == "input":
        await asyncio.wait([tasks[0]])
        return [tasks[0]]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return [task for task in tasks if task in done]


async def _as_async(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncIterator[ItemT]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for item in items:
        yield item
