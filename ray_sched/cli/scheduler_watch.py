"""Work that needs a scheduler, for as long as there is one: a client waits for it to come back, a person does not."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ray_sched.core.errors import Code, SchedError

if TYPE_CHECKING:
    from ray_sched.system.start import Scheduler

T = TypeVar("T")

_LOOK_S = 0.5


async def while_it_runs(scheduler: "Scheduler", gone_for_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises SCHEDULER_NOT_RUNNING when there was no scheduler for so many seconds."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_gone(scheduler, gone_for_s))
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    raise SchedError(Code.SCHEDULER_NOT_RUNNING, "the scheduler has ended; what had not ended has no result")


async def _until_gone(scheduler: "Scheduler", gone_for_s: float) -> None:
    """A Dispatcher that is started again keeps its name; Ray itself may be gone, and then does not answer."""
    now_s = asyncio.get_running_loop().time
    seen_at_s = now_s()
    while now_s() - seen_at_s < gone_for_s:
        await asyncio.sleep(_LOOK_S)
        asked_at_s = now_s()
        try:
            async with asyncio.timeout(gone_for_s):
                if await scheduler.is_running():
                    seen_at_s = asked_at_s
        except TimeoutError:
            continue
