"""When a replica that nobody needs is unloaded, how long it takes to load again, and how long it may."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

_LEAST_PART = 0.1
"""Of the last load: what is said to be left of one that takes longer."""


class RestLimits(Struct, frozen=True, kw_only=True):
    """How long a replica may be idle, and how long it may take to load again."""

    idle_unload_s: int = 0
    """One that nobody has needed for so long ends, until somebody does; 0: it stays."""
    load_timeout_s: int = 600
    """Not of the first load, which may have to fetch the model."""


class Rest:
    """The times of one replica: of its idleness, and of its loads. It says when, and never does it."""

    def __init__(self, limits: RestLimits, unload: Callable[[], None], give_up: Callable[[], None]) -> None:
        """``unload`` is called after so much rest, unless ``touch`` comes first, ``give_up`` in a load that is long."""
        self._limits = limits
        self._unload = unload
        self._give_up = give_up
        self._alarm: asyncio.TimerHandle | None = None
        self._is_over = asyncio.Event()
        self._began_load_s: float | None = None
        self._last_load_s: float | None = None

    def begin(self) -> None:
        """Nobody needs it from now on."""
        self.touch()
        if self._limits.idle_unload_s:
            self._alarm = asyncio.get_running_loop().call_later(self._limits.idle_unload_s, self._unload)

    def touch(self) -> None:
        """It is needed, or ends: what was to come does not."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def end(self) -> None:
        """An unloaded one is needed: it loads from now on."""
        self._began_load_s = asyncio.get_running_loop().time()
        self._is_over.set()

    async def wait_until_over(self) -> None:
        """Until ``end``."""
        await self._is_over.wait()

    def begin_load(self) -> None:
        """It loads."""
        self._is_over.clear()
        loop = asyncio.get_running_loop()
        self._began_load_s = loop.time()
        if self._last_load_s is not None:
            self.touch()
            self._alarm = loop.call_later(self._limits.load_timeout_s, self._give_up)

    def end_load(self) -> None:
        """It is loaded, and rests until somebody needs it."""
        if self._began_load_s is not None:
            self._last_load_s = asyncio.get_running_loop().time() - self._began_load_s
        self._began_load_s = None
        self.begin()

    @property
    def loads_in_s(self) -> float:
        """About how long the next load takes, or what is left of this one; 0 before there was one."""
        if self._last_load_s is None or self._began_load_s is None:
            return self._last_load_s or 0.0
        passed_s = asyncio.get_running_loop().time() - self._began_load_s
        return max(self._last_load_s - passed_s, self._last_load_s * _LEAST_PART)
