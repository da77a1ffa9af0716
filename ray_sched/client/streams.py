"""Streams of results: a session's, and those of a windowed map."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar

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
) -> AsyncGenerator[ResultT, None]:
    """Run items, ``window()`` at a time, and yield their results; takes the next item only when there is room.

    An item that is still awaited holds up no result.
    """
    source = _Source(items)
    tasks: deque[asyncio.Future[ResultT]] = deque()
    try:
        while tasks or not source.is_exhausted:
            while len(tasks) < window() and (taken := source.take()):
                tasks.append(asyncio.ensure_future(run(taken[0])))
            first = list(tasks)[: 1 if order == "input" else None]
            done = await _first_done([*first, *source.awaited])
            for task in first:
                if task in done:
                    tasks.remove(task)
                    yield task.result()
    finally:
        left: list[asyncio.Future[Any]] = [*tasks, *source.awaited]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _first_done(futures: "Sequence[asyncio.Future[Any]]") -> "set[asyncio.Future[Any]]":
    return (await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED))[0] if futures else set()


class _Source(Generic[ItemT]):
    """The items of a window. Ordinary ones are there at once; one of an asynchronous source is asked for and comes."""

    def __init__(self, items: Iterable[ItemT] | AsyncIterable[ItemT]) -> None:
        self.is_exhausted = False
        self._items = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._asked: asyncio.Future[ItemT] | None = None

    def take(self) -> list[ItemT]:
        """The next item, if it is there; else it is asked for, unless it was."""
        if isinstance(self._items, AsyncIterator):
            return self._take_asked(self._items)
        for item in self._items:
            return [item]
        self.is_exhausted = True
        return []

    @property
    def awaited(self) -> "list[asyncio.Future[ItemT]]":
        """The item that was asked for and has not come."""
        return [self._asked] if self._asked and not self._asked.done() else []

    def _take_asked(self, items: AsyncIterator[ItemT]) -> list[ItemT]:
        if self.is_exhausted:
            return []
        self._asked = self._asked or asyncio.ensure_future(anext(items))
        if not self._asked.done():
            return []
        asked, self._asked = self._asked, None
        try:
            return [asked.result()]
        except StopAsyncIteration:
            self.is_exhausted = True
            return []
