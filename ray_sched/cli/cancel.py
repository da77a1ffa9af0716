"""``ray-sched cancel``: end jobs, whoever has submitted them."""

from typing import Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import JobStatus
from ray_sched.core.units import counted
from ray_sched.core.views.job_filter import JobFilter


async def cancel(
    call: Call,
    job: Annotated[list[str] | None, typer.Argument(help="Ids of jobs, as jobs lists them.")] = None,
    session: Annotated[str, typer.Option(help="All of this session; CALL* is all that begin like it.")] = "",
    node: Annotated[str, typer.Option(help="All that are on this node.")] = "",
    tenant: Annotated[str, typer.Option(help="All of this tenant.")] = "",
    waiting: Annotated[bool, typer.Option("--all-waiting", help="All that wait for a node.")] = False,
) -> None:
    """Cancel jobs that have not ended; their submitters are told. Options together mean jobs that agree with all."""
    job_ids = tuple(job or ())
    if not (job_ids or session or node or tenant or waiting):
        raise typer.BadParameter("say which: ids of jobs, --session, --node, --tenant or --all-waiting")
    statuses = (str(JobStatus.PENDING),) if waiting else ()
    wanted = JobFilter(job_ids=job_ids, statuses=statuses, session=session, node=node, tenant=tenant)
    async with call.scheduler() as scheduler:
        known = (
            {row.job_id for row in await scheduler.jobs(JobFilter(job_ids=job_ids), len(job_ids))} if job_ids else set()
        )
        rows = await scheduler.cancel(wanted)
    cancelled = [row.job_id for row in rows]
    sentence = f"{counted(len(rows), 'job')} cancelled" if rows else "no such job had not ended; nothing was cancelled"
    call.out.show({"cancelled": cancelled}, sentence)
    if unknown := [job_id for job_id in job_ids if job_id not in known]:
        raise SchedError(
            Code.UNKNOWN_JOB,
            f"there is no job {', '.join(unknown)}; finished jobs are forgotten after the clean-up age",
        )
