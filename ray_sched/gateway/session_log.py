"""What was delivered of a session, numbered, for readers that come late, go away and come again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from ray_sched.client.results import Missing, Result
from ray_sched.client.streams import SessionStream
from ray_sched.gateway.pages import missing_page, result_page

_KEPT_EVENTS = 1_000
_LOOK_S = 1.0


class Event(NamedTuple):
    """One thing that readers are told."""

    number: int
    """From 1, without holes."""
    kind: str
    """``partial``, ``result`` or ``missing``."""
    page: dict[str, Any]


class SessionLog:
    """One session. Its newest events are kept, whether anybody reads them or not."""

    def __init__(self, stream: SessionStream, now_s: float) -> None:
        self._stream = stream
        self._kept: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._news = asyncio.Event()
        self._n_events = 0
        self._reading = asyncio.ensure_future(self._read())
        self.n_readers = 0
        self.n_open_jobs = 0
        self.used_at_s = now_s
        self.is_ended = False

    async def end(self) -> None:
        """Nothing more is wanted. May be called again."""
        self.is_ended = True
        self._stream.end()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._tell()

    def add_partial(self, page: dict[str, Any]) -> None:
        """What was recognised of an utterance so far."""
        self._add("partial", page)

    async def events(self, after: int) -> AsyncIterator[Event | None]:
        """Those after this number that are kept, and all that come until the session ends; None once in a while."""
        self.n_readers += 1
        try:
            while True:
                news = self._news
                for event in [it for it in self._kept if it.number > after]:
                    after = event.number
                    yield event
                if self.is_ended:
                    return
                if news is self._news:
                    try:
                        async with asyncio.timeout(_LOOK_S):
                            await news.wait()
                    except TimeoutError:
                        yield None
        finally:
            self.n_readers -= 1

    async def _read(self) -> None:
        async for what in self._stream:
            match what:
                case Result():
                    self._add("result", result_page(what))
                case Missing():
                    self._add("missing", missing_page(what))

    def _add(self, kind: str, page: dict[str, Any]) -> None:
        self._n_events += 1
        self._kept.append(Event(self._n_events, kind, page))
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
