"""Long questions of people are answered in slices, one question at a time, so that jobs do not wait for an answer."""

import asyncio
import time
from typing import TypeVar

from ray_sched.core.slices import Sliced

T = TypeVar("T")

_SLICE_S = 0.002


class Questions:
    """Answers one question at a time; the others wait in order."""

    def __init__(self) -> None:
        self._is_free = asyncio.Lock()

    async def answer(self, work: Sliced[T]) -> T:
        """What the work returns. After every two milliseconds of it everybody else goes first."""
        async with self._is_free:
            began_s = time.perf_counter()
            while True:
                try:
                    next(work)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                if time.perf_counter() - began_s >= _SLICE_S:
                    await asyncio.sleep(0)
                    began_s = time.perf_counter()
