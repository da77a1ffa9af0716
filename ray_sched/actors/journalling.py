"""What has happened is written to the journal, beside the loop: no job waits for a disk."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ray_sched.core.views.journal import JournalRow, journal_rows

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

log = logging.getLogger(__name__)

WriteRows = Callable[[Sequence[JournalRow]], None]
"""Blocks until they are written; raises OSError."""


class Journalling:
    """Hands the writer what has happened since it was last asked to. What it cannot write is lost, and said once."""

    def __init__(self, brain: "DispatchBrain", write: WriteRows | None) -> None:
        """``write`` None: there is no journal."""
        self._brain = brain
        self._write = write
        self._written = 0
        self._is_away = False

    async def tick(self) -> None:
        """Write what is new."""
        if self._write is None:
            return
        rows = journal_rows(self._brain, self._written)
        self._written = self._brain.history.last
        if not rows:
            return
        try:
            await asyncio.to_thread(self._write, rows)
        except OSError as error:
            if not self._is_away:
                log.warning("the journal cannot be written (%s); what happens meanwhile is not in it", error)
            self._is_away = True
        else:
            self._is_away = False
