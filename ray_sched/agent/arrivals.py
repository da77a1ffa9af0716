"""What threads bring to the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Arrivals:
    """Calls from threads to the event loop that wake it once for all that have gathered, not once for each."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def put(self, call: Callable[[], None]) -> None:
        """Have this called in the loop, in order. From any thread."""
        self._calls.append(call)
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed: the agent is gone, only this thread is not
                self._loop.call_soon_threadsafe(self._call_all)

    def _call_all(self) -> None:
        self._is_woken = False  # first: what is put from now on wakes the loop again
        while self._calls:
            self._calls.popleft()()
