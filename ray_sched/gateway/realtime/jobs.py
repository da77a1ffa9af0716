"""The jobs of a session: one for each piece of an utterance, submitted, watched and cancelled."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ray_sched.client.client import Client
from ray_sched.client.results import JobHandle, Result
from ray_sched.core.errors import SchedError
from ray_sched.core.turns.events import PieceEnded, PieceHeard, TurnEvent
from ray_sched.gateway.realtime.configuration import Configuration
from ray_sched.wire.samples import Samples


class Jobs:
    """Of one session. Its jobs are one session of the scheduler's, so that they come to the same node if they can."""

    def __init__(self, client: Client, session: str, report: Callable[[TurnEvent], None]) -> None:
        """``report`` is given what becomes of each piece, never while ``submit`` or ``cancel`` runs."""
        self._client = client
        self._session = session
        self._report = report
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._results: dict[str, Result] = {}

    def submit(self, piece: str, samples: Samples, wished: Configuration, bring: Callable[[int], None]) -> None:
        """Submit a piece. The same piece again is the same job. ``bring`` may refuse its milliseconds."""
        self._tasks[piece] = asyncio.ensure_future(self._run(piece, samples, wished, bring))

    def cancel(self, piece: str) -> None:
        """Nobody wants its result any more."""
        if task := self._tasks.pop(piece, None):
            task.cancel()
        self._results.pop(piece, None)

    def take(self, piece: str) -> Result | None:
        """The result of a piece that has ended well, once."""
        return self._results.pop(piece, None)

    def forget(self, item: str) -> None:
        """Results of pieces of this item are told nobody."""
        for piece in [name for name in self._results if name.rpartition(".")[0] == item]:
            del self._results[piece]

    def cancel_all(self) -> None:
        """The session has ended."""
        for piece in list(self._tasks):
            self.cancel(piece)
        self._results.clear()

    async def _run(self, piece: str, samples: Samples, wished: Configuration, bring: Callable[[int], None]) -> None:
        target = wished.target
        handle: JobHandle | None = None
        try:
            bring(len(samples) * 1000 // 16_000)
            handle = self._client.submit(
                samples,
                src=wished.source,
                tgt=target,
                speech=wished.is_spoken,
                session=self._session,
                request_id=f"{self._session}.{piece}",
                partials=target is None,
                prompt=wished.prompt,
                hotwords=wished.hotwords,
                copy=False,
                name=piece,
            )
            async for text in handle.partials():
                self._report(PieceHeard(piece, text))
            self._results[piece] = (await handle.result()).raise_for_error()
            refusal = None
        except SchedError as error:
            refusal = error.refusal
        except asyncio.CancelledError:
            if handle and not handle.is_done:
                self._cancel_later(handle)
            raise
        self._tasks.pop(piece, None)
        self._report(PieceEnded(piece, refusal))

    def _cancel_later(self, handle: JobHandle) -> None:
        task = asyncio.ensure_future(_cancel(handle))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)


async def _cancel(handle: JobHandle) -> None:
    with suppress(SchedError):  # it has ended, or was never taken
        await handle.cancel()
