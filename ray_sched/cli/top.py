"""``ray-sched top``: status and nodes, again every second."""

import asyncio
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from ray_sched.cli.call import Call
from ray_sched.cli.nodes import nodes_table
from ray_sched.cli.status import status_page


async def top(
    call: Call,
    every_s: Annotated[float, typer.Option("--every-s", min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show status and nodes, refreshed until Ctrl-C; without a terminal, or with --json, once."""
    async with call.scheduler() as scheduler:
        view, rows = await scheduler.status(), await scheduler.nodes()
        page = call.out.page
        if call.out.is_json or not page.is_terminal:
            call.out.show({"status": view, "nodes": rows}, *status_page(view), nodes_table(rows))
            return
        with call.signals.captured() as signals, Live(console=page, screen=True, auto_refresh=False) as live:
            signalled = asyncio.ensure_future(signals.get())
            while not signalled.done():
                live.update(Group(*status_page(view), nodes_table(rows)), refresh=True)
                await asyncio.wait([signalled], timeout=every_s)
                view, rows = await scheduler.status(), await scheduler.nodes()
