"""Outbox: batching without waiting, the same on every edge.

If no call is in flight, an item is sent at once; while one is, items collect; when it returns, all that has collected
goes in the next one: an idle system adds no delay, a busy one batches by itself. Knows nothing of what it sends.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from ray_sched.core.messages.fields import MAX_BATCH

ItemT = TypeVar("ItemT")
ReplyT = TypeVar("ReplyT")


class OutboxClosedError(Exception):
    """The outbox was closed before the item was sent."""


class Outbox(Generic[ItemT, ReplyT]):
    """Sends items in order, in batches of at most ``max_batch``, one call in flight.

    ``send`` is given a batch and returns one reply for each item, in order. If it raises, the batch is lost: those who
    ``ask`` get the exception, and ``on_lost`` gets batch and exception. An edge that must not lose anything repeats
    the call inside ``send``.
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
        self._sending: asyncio.Task[None] | None = None
        self._is_closed = False

    def put(self, item: ItemT) -> None:
        """Send this; nobody waits for the reply. Raises OutboxClosedError once closed."""
        self._add(item, None)

    def ask(self, item: ItemT) -> "asyncio.Future[ReplyT]":
        """Send this; the future has its reply, or raises what ``send`` raised, or OutboxClosedError.

        Raises OutboxClosedError at once if it is closed already.
        """
        future: asyncio.Future[ReplyT] = asyncio.get_running_loop().create_future()
        self._add(item, future)
        return future

    def _add(self, item: ItemT, future: "asyncio.Future[ReplyT] | None") -> None:
        if self._is_closed:
            raise OutboxClosedError("this outbox is closed")
        self._waiting.append((item, future))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        """One batch after the other, until nothing waits."""
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
                await self._send_batch(batch)
        finally:
            self._sending = None

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
        """Whether no call is in flight and nothing waits for one."""
        return self._sending is None and not self._waiting

    async def flush(self) -> None:
        """Wait until everything put in so far was sent, or has failed."""
        while self._sending is not None:
            await asyncio.shield(self._sending)

    async def close(self) -> None:
        """Send nothing more: what waits is lost, and a call in flight is given up."""
        self._is_closed = True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        _fail(self._waiting, OutboxClosedError("the outbox was closed"))
        self._waiting.clear()


def _fail(batch: "Iterable[tuple[ItemT, asyncio.Future[ReplyT] | None]]", error: Exception) -> None:
    for _, future in batch:
        if future and not future.done():
            future.set_exception(error)
