"""Ctrl-C and SIGTERM: the first calls the verb off, and it stops what it started; the next ones do not disturb that.

A verb that is to end in its own way captures them. Nothing here ends a process.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Signals:
    """The signals of one call of the command line."""

    def __init__(self, notify: Callable[[], None]) -> None:
        """``notify`` is called at each signal, between any two steps of the main thread."""
        self._notify = notify
        self.first: int | None = None
        """Number of the first signal that came."""
        self._captured: asyncio.Queue[int] | None = None
        self._task: asyncio.Task[Any] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a verb. Raises CancelledError if a signal called it off."""
        with asyncio.Runner() as runner:
            return runner.run(self._listening(work))

    async def _listening(self, work: Coroutine[Any, Any, T]) -> T:
        loop = asyncio.get_running_loop()
        self._task = task = loop.create_task(work)

        def handle(number: int, _frame: object) -> None:
            self._notify()
            loop.call_soon_threadsafe(self._handle, number)

        # not the loop's own handlers: this one notifies at once, even while Ray's start keeps the loop waiting
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return await task
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int) -> None:
        is_first, self.first = self.first is None, self.first or number
        if self._captured is not None:
            self._captured.put_nowait(number)
        elif is_first and self._task:
            self._task.cancel()

    @contextmanager
    def captured(self) -> Iterator["asyncio.Queue[int]"]:
        """Within this block signals come through the queue and call nothing off."""
        self._captured = asyncio.Queue()
        try:
            yield self._captured
        finally:
            self._captured = None
