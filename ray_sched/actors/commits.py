"""Commits: the changes of an actor's steps go into the store, together where steps meet, until the store has them.

The middle of decide, save, notify: whoever notifies waits for the future of what was saved. A store that is away is
asked again and again; one that was emptied is filled again. It never decides what is saved.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from ray_sched.actors.background import Background
from ray_sched.actors.retry import STORE_RETRY_S, retry_until_answered
from ray_sched.core.distribution import SIZE_BOUNDARIES, Distribution
from ray_sched.core.ports import Change, Store, StoreDownError, StoreEmptiedError
from ray_sched.wire.outbox import Outbox

log = logging.getLogger(__name__)


class Writer(Protocol):
    """Whose changes these are. Each method is called in the middle of a commit, and must not wait for it."""

    def handle_store_away(self) -> None:
        """The store does not answer. Not called again before it has come back."""
        ...

    def handle_store_back(self) -> None:
        """The store has answered again, and what waited for it is saved."""
        ...

    def handle_store_emptied(self) -> Awaitable[None] | None:
        """The store has lost what it held: put in all of it again, before anything else is.

        Awaiting what is returned ends when that is saved; None: there was nothing to save.
        """
        ...


class Commits:
    """One commit at a time, of the changes of all steps that came while the last one was under way."""

    def __init__(self, store: Store, writer: Writer, background: Background) -> None:
        self._store = store
        self._writer = writer
        self._background = background
        self._outbox: Outbox[Sequence[Change], None] = Outbox(self._commit)
        self._is_probing = False
        self._refilling: asyncio.Task[None] | None = None
        self.store_error = ""
        """Why the store does not answer, for people; empty while it does."""
        self.latency = Distribution()
        """Of commits that were answered, in milliseconds."""
        self.sizes = Distribution(SIZE_BOUNDARIES)
        """Steps that were committed together."""
        self.n_refills = 0
        """How often the store had lost what was saved."""

    @property
    def is_idle(self) -> bool:
        """Whether all that was put in is saved."""
        return self._outbox.is_idle

    def ask(self, changes: Sequence[Change]) -> "asyncio.Future[None]":
        """Save these changes. The future is done when they, and all that was put in before them, are saved.

        Without changes it is done when all that was put in before is saved.
        """
        return self._outbox.ask(changes)

    def probe(self) -> None:
        """Ask the store whether it is there and has what was saved, if nothing that is under way asks already."""
        if self._outbox.is_idle:
            self._is_probing = True
            self._outbox.put(())

    async def _commit(self, steps: list[Sequence[Change]]) -> list[None]:
        """Commit the changes of all these steps in one round trip; repeat until the store has them."""
        changes = [change for step in steps for change in step]
        self.sizes.observe(len(steps))
        while changes or self._is_probing:
            began_s = time.perf_counter()
            try:
                await self._store.commit(changes)
            except StoreEmptiedError as error:
                self._refill(error)
            except StoreDownError as error:
                self._handle_away(error)
                await asyncio.sleep(STORE_RETRY_S)
                continue
            self.latency.observe((time.perf_counter() - began_s) * 1000)
            self._handle_answer()
            break
        return [None] * len(steps)

    def _handle_away(self, error: StoreDownError) -> None:
        if not self.store_error:
            log.error("the store does not answer, what was decided waits to be saved: %s", error)
            self._writer.handle_store_away()
        self.store_error = str(error)

    def _handle_answer(self) -> None:
        if self.store_error:
            log.info("the store answers again")
            self.store_error = ""
            self._writer.handle_store_back()
        self._is_probing = False

    def _refill(self, emptied: StoreEmptiedError) -> None:
        """The store has taken these changes and lost all before them: all of it is written again, once."""
        if self._refilling is None:
            log.error("%s; all is written again", emptied)
            self.n_refills += 1
            self._refilling = self._background.begin(self._vouch_after(self._writer.handle_store_emptied()))

    async def _vouch_after(self, saved: Awaitable[None] | None) -> None:
        if saved is not None:
            await saved
        await retry_until_answered(self._store.vouch)
        self._refilling = None
