"""Background work of one actor: kept alive until it is done, and what fails is logged."""

import asyncio
import logging
from collections.abc import Awaitable

log = logging.getLogger(__name__)


class Background:
    """Tasks that nobody awaits. asyncio itself keeps no reference to a task, and says nothing of its failure."""

    def __init__(self, owner: str) -> None:
        """``owner``: whose work it is, for the log."""
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Start this work; the task may be awaited, and need not be."""

        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work of the %s failed: %r", self._owner, error)
