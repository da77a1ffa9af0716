"""``ray-sched story``: what has happened, to a job, in a session, on a node, or in all."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from ray_sched.cli.call import Call
from ray_sched.cli.output import add_row, table
from ray_sched.core.plain import plain
from ray_sched.core.views.story_rows import StoryRow, Told

if TYPE_CHECKING:
    from ray_sched.system.start import Scheduler

_EVERY_S = 0.5
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000}


async def story(  # one option for each thing that may be said of a line
    call: Call,
    *,
    job: Annotated[str, typer.Argument(help="Only of this job.")] = "",
    session: Annotated[str, typer.Option(help="Only of this session.")] = "",
    node: Annotated[str, typer.Option(help="Only of this node.")] = "",
    since: Annotated[str, typer.Option(metavar="5m", help="Only of so long ago: 30s, 5m, 2h.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=20_000, help="The newest so many lines.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended, or Ctrl-C.")] = False,
) -> None:
    """Tell what has happened, the newest last: to a job, in a session, on a node, or in all."""
    told = Told(job_id=job, session=session, node=node, since_ms=_milliseconds(since), limit=limit)
    async with call.scheduler() as scheduler:
        if follow:
            await _follow(call, scheduler, told)
            return
        found = await scheduler.story(told)
    if not found.rows:
        call.out.show(found.rows, "nothing is known to have happened")
        return
    made = table("at", "job", "#", "node", "what happened", right=("#",))
    for row in found.rows:
        add_row(made, _clock(row), row.job_id, row.attempt or None, row.node, row.text)
    call.out.show(found.rows, made)


async def _follow(call: Call, scheduler: "Scheduler", told: Told) -> None:
    """A line for each thing as it happens; with --json one JSON value a line."""
    call.out.is_stream = True
    call.last_words = "interrupted"
    while True:
        found = await scheduler.story(told)
        for row in found.rows:
            place = " ".join(plain(each) for each in (row.job_id, row.node and f"on {row.node}") if each)
            call.out.show(row, f"{_clock(row)}  {place}  {row.text}")
        if told.job_id and found.is_over:
            return
        told = structs.replace(told, after=found.last, since_ms=0)
        await asyncio.sleep(_EVERY_S)


def _clock(row: StoryRow) -> str:
    """The local time, to a millisecond."""
    return f"{time.strftime('%H:%M:%S', time.localtime(row.at_ms / 1000))}.{row.at_ms % 1000:03}"


def _milliseconds(text: str) -> int:
    if not text:
        return 0
    number = text.rstrip("msinh")
    unit = text[len(number) :] or "s"
    try:
        since_ms = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; say 30s, 5m or 2h") from None
    if since_ms <= 0:
        raise typer.BadParameter(f"{text!r} is no time; say 30s, 5m or 2h")
    return since_ms
