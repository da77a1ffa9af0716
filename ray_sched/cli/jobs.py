"""``ray-sched jobs``: the newest jobs."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.live import is_watched, watch
from ray_sched.cli.output import LAYOUT, Layout, add_row, table
from ray_sched.core.job import JobStatus
from ray_sched.core.units import short_ms
from ray_sched.core.views.job_filter import JobFilter

if TYPE_CHECKING:
    from ray_sched.core.views.jobs import JobView

_EVERY_S = 1.0


async def jobs(  # noqa: PLR0913  # one option for each thing that may be said of a job
    call: Call,
    *,
    status: Annotated[list[JobStatus] | None, typer.Option(help="Only jobs of this status; may be repeated.")] = None,
    session: Annotated[str, typer.Option(help="Only of this session; CALL* is all that begin like it.")] = "",
    node: Annotated[str, typer.Option(help="Only of this node.")] = "",
    name: Annotated[str, typer.Option(help="Only of this name, such as that of a file.")] = "",
    tenant: Annotated[str, typer.Option(help="Only of this tenant.")] = "",
    pair: Annotated[str, typer.Option(help="Only of these languages, as en:de.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    output: Annotated[Layout, LAYOUT] = Layout.NARROW,
    watched: Annotated[bool, typer.Option("--watch", help="Refresh each second until Ctrl-C.")] = False,
) -> None:
    """List jobs, the newest first; finished ones until they are cleaned up."""
    statuses = tuple(str(one) for one in status or ())
    wanted = JobFilter(statuses=statuses, session=session, node=node, name=name, tenant=tenant, pair=pair)
    async with call.scheduler() as scheduler:

        async def look() -> list[RenderableType]:
            return [_page(await scheduler.jobs(wanted, limit), output)]

        if watched and is_watched(call):
            await watch(call, look, _EVERY_S)
            return
        rows = await scheduler.jobs(wanted, limit)
    call.out.show(rows, _page(rows, output), is_wide=output is Layout.WIDE)


def _page(rows: "list[JobView]", layout: Layout) -> RenderableType:
    if not rows:
        return "there are no such jobs"
    return _wide(rows) if layout is Layout.WIDE else _narrow(rows)


def _narrow(rows: "list[JobView]") -> RenderableType:
    """What fits into 80 columns."""
    made = table("job", "name", "status", "node", "age", "run", "error", right=("age", "run"))
    for row in rows:
        age, _, run = _times(row)
        error = row.error.partition(":")[0]
        add_row(made, row.job_id, row.name.rpartition("/")[2], row.status, row.node, age, run, error)
    return made


def _wide(rows: "list[JobView]") -> RenderableType:
    numbers = ("#", "attempt", "priority", "audio", "age", "wait", "run", "ended")
    facts = ("job", "name", "status", "pair", "services", "session", "tenant", "node", "submitted")
    made = table(*facts, *numbers, "error", right=numbers)
    for row in rows:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.submitted_at_ms / 1000))
        ended = None if row.ended_ago_ms is None else f"{short_ms(row.ended_ago_ms)} ago"
        place = (row.session, row.tenant, row.node, at, row.utterance_index, row.attempt, row.priority)
        times = (short_ms(row.audio_ms), *_times(row), ended)
        add_row(made, row.job_id, row.name, row.status, row.pair, "+".join(row.services), *place, *times, row.error)
    return made


def _times(row: "JobView") -> tuple[str, str, str | None]:
    return short_ms(row.age_ms), short_ms(row.wait_ms), short_ms(row.run_ms) if row.run_ms else None
