"""How late an event loop is: the longest time by which a short sleep took longer than it should."""

import asyncio

_SLEEP_S = 0.25


class LoopLag:
    """Looks four times a second, from the moment it is made in a running loop until ``stop``."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._due_s = 0.0
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            self._due_s = now_s() + _SLEEP_S
            await asyncio.sleep(_SLEEP_S)
            self._longest_s = max(self._longest_s, now_s() - self._due_s)

    def take_s(self) -> float:
        """The longest delay since the last call, in seconds; one that is not over yet counts as far as it has gone."""
        going_on_s = asyncio.get_running_loop().time() - self._due_s if self._due_s else 0.0
        longest_s, self._longest_s = max(self._longest_s, going_on_s, 0.0), 0.0
        return longest_s

    def stop(self) -> None:
        """Look no more."""
        self._watching.cancel()
