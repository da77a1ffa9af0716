"""Signs of life: a thread says that a client lives while its event loop is blocked, and cannot say so itself.

An application that calculates for a minute in the middle of its event loop is not dead: its jobs are kept. The thread
lives as long as the client does, or its process; a client whose loop turns is not heard of by this way.
"""

import asyncio
import threading
from collections.abc import Callable

_LOOK_EVERY_S = 0.5


class LifeSigns:
    """Looks twice a second whether an event loop has turned since, and calls ``say`` as often while it has not."""

    def __init__(self, say: Callable[[], None], every_s: float = _LOOK_EVERY_S) -> None:
        """``say`` is called in a thread of its own and may block, but not for ever."""
        self._say = say
        self._every_s = every_s
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begin to look at the running event loop."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._look, args=(loop,), name="ray_sched life signs", daemon=True).start()

    def end(self) -> None:
        """Say nothing more."""
        self._is_over.set()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        has_turned = threading.Event()
        has_turned.set()
        while not self._is_over.wait(self._every_s):
            if has_turned.is_set():
                has_turned.clear()
                try:
                    loop.call_soon_threadsafe(has_turned.set)
                except RuntimeError:  # the loop was closed, and nobody closed the client before
                    return
            else:
                self._say()
