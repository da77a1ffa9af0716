"""A page that is looked at again and again, until Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live

if TYPE_CHECKING:
    from ray_sched.cli.call import Call

Look = Callable[[], Awaitable[list[RenderableType]]]
"""Asks the scheduler, and makes the page of what it answers."""


def is_watched(call: "Call") -> bool:
    """Whether a person looks at stdout: else a page is shown once."""
    return call.out.page.is_terminal and not call.out.is_json


async def watch(call: "Call", look: Look, every_s: float) -> None:
    """Fill the screen with the page, again every ``every_s`` seconds, until Ctrl-C."""
    page = await look()
    with call.signals.captured() as signals, Live(console=call.out.page, screen=True, auto_refresh=False) as live:
        signalled = asyncio.ensure_future(signals.get())
        while not signalled.done():
            live.update(Group(*page), refresh=True)
            await asyncio.wait([signalled], timeout=every_s)
            page = await look()
