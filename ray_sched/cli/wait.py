"""``ray-sched wait``: return when the scheduler can work, for scripts."""

import asyncio
from typing import Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.units import counted

_LOOK_S = 0.25
_NOT_YET = {Code.SCHEDULER_NOT_RUNNING, Code.NO_CLUSTER}


async def wait(
    call: Call,
    n_nodes: Annotated[int, typer.Option("--nodes", min=0, help="So many nodes have to be ready.")] = 1,
    timeout_s: Annotated[float, typer.Option("--timeout-s", min=0, help="Seconds after which to give up.")] = 60.0,
) -> None:
    """Return when a scheduler runs and its nodes are ready; it may still have to be started."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with call.out.steps():
        call.out.step(f"waiting for {counted(n_nodes, 'node')}")
        while True:
            left_s = timeout_s - (loop.time() - began_s)
            try:
                async with call.scheduler() as scheduler:
                    await scheduler.wait_for_nodes(n_nodes, max(left_s, 0), is_patient=True)
                    view = await scheduler.status()
                    break
            except SchedError as error:
                if error.code not in _NOT_YET or left_s <= 0:
                    raise
            await asyncio.sleep(min(_LOOK_S, max(left_s, 0)))
    took_s = round(loop.time() - began_s, 1)
    call.out.show({"slots": view.slots, "took_s": took_s}, f"ready after {took_s:g} s: {counted(view.slots, 'slot')}")
