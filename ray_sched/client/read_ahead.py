"""Audio that is to be read before it can be pushed: read side by side for each agent, and not too much of it ahead.

What was read goes to the agent together, as soon as nothing else is being read for it; a source that is late follows
when it has come, and holds up nobody. The client's brain is notified of every copy when it is made and dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from ray_sched.client.sources import Source
from ray_sched.core.client.effects import ClientEffect, PushAudio
from ray_sched.core.client.transfers import Transfers
from ray_sched.core.errors import SchedError
from ray_sched.wire.peers import Payload

_N_READING = 8
"""So many sources are read at a time, not counting late ones."""
_LATE_S = 0.25
"""A source that takes longer than this counts no more: another one is begun beside it, and what was read goes without
it. Nor does what was read wait longer for others."""
_MAX_BYTES = 16 * 2**20
"""Nothing more is begun while so much was read that the agent has not taken yet."""


class PendingPush(Struct, frozen=True):
    """A job on its way to the agent it was assigned to."""

    push: PushAudio
    source: Source


class ReadyPush:
    """A job whose audio is there: in memory anyway, or a copy that was read for this push."""

    __slots__ = ("_let_go", "_payload", "n_bytes", "push")

    def __init__(self, push: PushAudio, payload: Payload, let_go: "Callable[[ReadyPush], None] | None" = None) -> None:
        """``let_go`` is called by ``take``: the audio is ahead of its push no more."""
        self.push = push
        self.n_bytes = len(payload)
        self._payload: Payload | None = payload
        self._let_go = let_go

    @property
    def is_taken(self) -> bool:
        """Whether somebody has the audio, or has had it."""
        return self._payload is None

    def take(self) -> Payload:
        """The audio, once; this holds it no more."""
        payload, self._payload = self._payload, None
        assert payload is not None  # noqa: S101  # it is taken once
        if self._let_go:
            self._let_go(self)
        return payload


class ReadAhead:
    """The reading for one agent. Made and used in one event loop."""

    def __init__(
        self,
        transfers: Transfers,
        perform: Callable[[list[ClientEffect]], None],
        deliver: Callable[[ReadyPush], None],
    ) -> None:
        """``perform`` carries out the effects that ``transfers`` answers with.

        ``deliver`` is given what was read: what goes together in one step, one after the other.
        """
        self._transfers = transfers
        self._perform = perform
        self._deliver = deliver
        self._waiting: deque[PendingPush] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._n_reading = 0
        self._n_bytes = 0
        self._ready: set[ReadyPush] = set()
        """What was read and not taken."""
        self._gathered: list[ReadyPush] = []
        """Of these, what was not delivered."""
        self._timer: asyncio.TimerHandle | None = None
        """Runs while something is gathered."""

    def add(self, pending: PendingPush) -> None:
        """Read this when it is its turn."""
        self._waiting.append(pending)
        self._begin()

    async def close(self) -> None:
        """Read nothing more, and drop what was read and not taken."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._gathered.clear()
        for ready in list(self._ready):
            ready.take()
            self._transfers.audio.drop(ready.push.number)

    def _begin(self) -> None:
        while self._waiting and self._n_reading < _N_READING and self._n_bytes < _MAX_BYTES:
            pending = self._waiting.popleft()
            if self._transfers.is_wanted(pending.push.number):
                task = asyncio.create_task(self._read(pending))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self._n_reading += 1

    async def _read(self, pending: PendingPush) -> None:
        is_counted = True

        def count_no_more() -> None:
            nonlocal is_counted
            self._n_reading -= is_counted
            is_counted = False
            self._begin()
            if not self._n_reading:
                self._flush()

        late = asyncio.get_running_loop().call_later(_LATE_S, count_no_more)
        try:
            await self._read_one(pending)
        finally:
            late.cancel()
            count_no_more()

    async def _read_one(self, pending: PendingPush) -> None:
        push = pending.push
        try:
            samples = await pending.source.samples()
        except SchedError as error:
            self._perform(self._transfers.unreadable(push, error.refusal))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the job is not lost by it
            self._perform(self._transfers.failed(push, f"{type(error).__name__}: {error}"))
            return
        if not self._transfers.is_wanted(push.number):
            return
        self._transfers.audio.read(push.number, samples.nbytes)
        ready = ReadyPush(push, samples.view(np.uint8), self._let_go)
        self._ready.add(ready)
        self._gathered.append(ready)
        self._n_bytes += samples.nbytes
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATE_S, self._flush)

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered = self._gathered, []
        for ready in gathered:
            self._deliver(ready)

    def _let_go(self, ready: ReadyPush) -> None:
        self._ready.remove(ready)
        self._n_bytes -= ready.n_bytes
        self._begin()
