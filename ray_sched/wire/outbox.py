"""Outbox: batching without waiting, the same on every edge.

If nothing is in flight, what is put in goes at once; while a call is in flight, it collects; when the call returns,
all that was collected goes in the next one: an idle system adds no delay, a busy one batches by itself. What nobody
waits for can be put in with patience: it goes with the next thing that is in a hurry, or after ``LAZY_S``.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
ReplyT = TypeVar("ReplyT")


LAZY_S = 0.02
"""How long a lazy item waits for company."""


MAX_BATCH = 256
"""Messages to a call: a few hundred bytes each, so a call stays under the 100 KB that Ray sends inline; a larger one
would take the way through the object store."""


class OutboxClosedError(Exception):
    """The outbox was closed before the item was sent."""


class Outbox(Generic[ItemT, ReplyT]):
    """Sends items in order, in batches, one call in flight.

    ``send`` takes a batch and returns one reply for each item, in order. If it raises, the batch is lost: those who
    ``ask`` get the exception, and ``on_lost`` is told the batch. An edge that must not lose anything repeats inside
    ``send``.
    """

    def __init__(
        self,
        send: Callable[[list[ItemT]], Awaitable[Sequence[ReplyT]]],
        *,
        max_batch: int = MAX_BATCH,
        on_lost: Callable[[list[ItemT], Exception], None] | None = None,
    ) -> None:
        self._send = send
        self._max_batch = max_batch
        self._on_lost = on_lost
        self._waiting: deque[tuple[ItemT, asyncio.Future[ReplyT] | None]] = deque()
        self._flight: asyncio.Task[None] | None = None
        self._lazy: asyncio.TimerHandle | None = None
        self._is_closed = False

    def put(self, item: ItemT) -> None:
        """Send this; nobody waits for the reply."""
        self._add(item, None)

    def put_lazily(self, item: ItemT, within_s: float = LAZY_S) -> None:
        """Send this with the next item that is in a hurry, or within this time; nobody waits for the reply."""
        self._append(item, None)
        if self._flight is not None:
            return
        loop = asyncio.get_running_loop()
        if self._lazy is None or self._lazy.when() > loop.time() + within_s:
            self._cancel_lazy()
            self._lazy = loop.call_later(within_s, self._take_off)

    def ask(self, item: ItemT) -> "asyncio.Future[ReplyT]":
        """Send this; awaiting the future gives its reply or raises what ``send`` raised."""
        future: asyncio.Future[ReplyT] = asyncio.get_running_loop().create_future()
        self._add(item, future)
        return future

    def _add(self, item: ItemT, future: "asyncio.Future[ReplyT] | None") -> None:
        self._append(item, future)
        self._take_off()

    def _append(self, item: ItemT, future: "asyncio.Future[ReplyT] | None") -> None:
        if self._is_closed:
            raise OutboxClosedError("this outbox is closed")
        self._waiting.append((item, future))

    def _take_off(self) -> None:
        self._cancel_lazy()
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly())

    def _cancel_lazy(self) -> None:
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None

    async def _fly(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
                await self._send_batch(batch)
        finally:
            self._flight = None

    async def _send_batch(self, batch: "list[tuple[ItemT, asyncio.Future[ReplyT] | None]]") -> None:
        items = [item for item, _ in batch]
        try:
            replies = await self._send(items)
        except asyncio.CancelledError:
            _fail(batch, OutboxClosedError("the outbox was closed while this was on its way"))
            raise
        except Exception as error:  # noqa: BLE001  # handed on to those who asked and to on_lost
            _fail(batch, error)
            if self._on_lost:
                self._on_lost(items, error)
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            if future and not future.done():
                future.set_result(reply)

    @property
    def is_idle(self) -> bool:
        """Nothing is on its way and nothing waits to be."""
        return self._flight is None and not self._waiting

    async def flush(self) -> None:
        """Wait until everything put in so far was sent."""
        if self._waiting:
            self._take_off()
        while self._flight is not None:
            await asyncio.shield(self._flight)

    async def close(self) -> None:
        """Send nothing more; what waits is lost, and a call in flight is given up."""
        self._is_closed = True
        self._cancel_lazy()
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        _fail(self._waiting, OutboxClosedError("the outbox was closed"))
        self._waiting.clear()


def _fail(batch: "Iterable[tuple[ItemT, asyncio.Future[ReplyT] | None]]", error: Exception) -> None:
    for _, future in batch:
        if future and not future.done():
            future.set_exception(error)
