"""Long questions of people are answered in slices, one question at a time, so that jobs do not wait for an answer."""

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.slices import Sliced
from ray_sched.core.views.dry_run import dry_running
from ray_sched.core.views.explain import explaining
from ray_sched.core.views.explanation import Explanation, WaitingRow
from ray_sched.core.views.story import telling
from ray_sched.core.views.story_rows import Story, Told
from ray_sched.core.views.waiting import explaining_all
from ray_sched.wire.clock import Clock

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

T = TypeVar("T")

_SLICE_S = 0.002


class Questions:
    """The part of the Dispatcher's actor that answers what takes long; it looks at the brain and changes nothing."""

    def __init__(self, brain: "DispatchBrain", clock: Clock) -> None:
        self._asked = brain
        self._asked_clock = clock
        self._is_free = asyncio.Lock()

    async def explain(self, job_id: str, node: str = "") -> Explanation:
        """Why a job is where it is, and not on that node. Raises SchedError UNKNOWN_JOB or UNKNOWN_NODE."""
        return await self._answer(explaining(self._asked, job_id, self._asked_clock.now_ms(), node))

    async def explain_all(self) -> list[WaitingRow]:
        """Why all that waits does, by reason."""
        return await self._answer(explaining_all(self._asked, self._asked_clock.now_ms()))

    async def story(self, told: Told) -> Story:
        """What has happened, of that what was said. Raises SchedError UNKNOWN_JOB."""
        return await self._answer(telling(self._asked, told, self._asked_clock.now_ms()))

    async def dry_run(self, spec: JobSpec) -> Explanation:
        """What would become of such a job. Raises SchedError if there cannot be one."""
        return await self._answer(dry_running(self._asked, spec, self._asked_clock.now_ms()))

    async def _answer(self, work: Sliced[T]) -> T:
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
