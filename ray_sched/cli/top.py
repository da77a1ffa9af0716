"""``ray-sched top``: status and nodes, again every second."""

from typing import Annotated

import typer
from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.live import is_watched, watch
from ray_sched.cli.nodes import nodes_page
from ray_sched.cli.status import status_page


async def top(
    call: Call,
    every_s: Annotated[float, typer.Option("--every-s", min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show status and nodes, refreshed until Ctrl-C; without a terminal, or with --json, once."""
    async with call.scheduler() as scheduler:

        async def look() -> list[RenderableType]:
            return [*status_page(await scheduler.status()), *nodes_page(await scheduler.nodes())]

        if is_watched(call):
            await watch(call, look, every_s)
            return
        view, rows = await scheduler.status(), await scheduler.nodes()
        call.out.show({"status": view, "nodes": rows}, *status_page(view), *nodes_page(rows))
