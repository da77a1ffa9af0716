"""``ray-sched down``: stop the scheduler, and wait for the ``up`` that runs it to end."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.units import counted

if TYPE_CHECKING:
    from ray_sched.system.start import Note

_LOOK_S = 0.1
_UP_ENDS_S = 60.0


async def down(
    call: Call,
    drain_s: Annotated[float, typer.Option("--drain-s", min=0, help="Running jobs may take this long.")] = 10.0,
    now: Annotated[bool, typer.Option("--now", help="Running jobs are not waited for.")] = False,
) -> None:
    """Take no new jobs, let the running ones end, and stop the scheduler. What it did not start it leaves alone."""
    from ray_sched.system.address import find_address
    from ray_sched.system.start import Note

    note = Note.read(call.settings.data_dir)
    is_its = note is not None and find_address(call.settings) == note.address
    with call.out.steps():
        call.out.step("stopping" if now else "letting the running jobs end")
        async with call.scheduler() as scheduler:
            if not await scheduler.is_running():
                await scheduler.status()  # raises the sentence for it
            n_left = await scheduler.stop(0 if now else drain_s)
        if note and is_its:
            call.out.step("waiting for up to end")
            await _wait_for(note)
    left = f"; {counted(n_left, 'job')} had not ended" if n_left else ""
    call.out.show({"stopped": True, "unfinished_jobs": n_left}, f"the scheduler has stopped{left}")


async def _wait_for(note: "Note") -> None:
    try:
        async with asyncio.timeout(_UP_ENDS_S):
            while note.is_alive():  # noqa: ASYNC110  # another process has no event for us
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise SchedError(
            Code.SCHEDULER_DEPENDENCY_DOWN, f"the scheduler has stopped, but up (process {note.pid}) does not end"
        ) from None
