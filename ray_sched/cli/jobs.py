"""``ray-sched jobs``: the newest jobs."""

from typing import Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.cli.output import add_row, table
from ray_sched.core.job import JobStatus

_NUMBERS = ("attempt", "priority", "age ms", "audio s")


async def jobs(
    call: Call,
    status: Annotated[list[JobStatus] | None, typer.Option(help="Only jobs of this status; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
) -> None:
    """List jobs, the newest first; finished ones until they are cleaned up."""
    async with call.scheduler() as scheduler:
        rows = await scheduler.jobs(tuple(str(one) for one in status or ()), limit)
    made = table("job", "name", "status", "pair", "session", "#", "node", *_NUMBERS, "error", right=("#", *_NUMBERS))
    for row in rows:
        place = (row.session, row.utterance_index, row.node)
        numbers = (row.attempt, row.priority, row.age_ms, round(row.audio_ms / 1000, 1))
        add_row(made, row.job_id, row.name, row.status, row.pair, *place, *numbers, row.error)
    call.out.show(rows, made if rows else "there are no such jobs")
