"""``ray-sched explain``: why a job is where it is."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.output import add_row, table
from ray_sched.core.units import counted, short_ms

if TYPE_CHECKING:
    from ray_sched.core.views.jobs import Explanation, NodeVerdict


async def explain(call: Call, job: Annotated[str, typer.Argument(help="A job's id, as jobs lists it.")]) -> None:
    """Say why a job is where it is: in a sentence, node by node, and what happened to it."""
    async with call.scheduler() as scheduler:
        explanation = await scheduler.explain(job)
    call.out.show(explanation, *_page(explanation))


def _page(explanation: "Explanation") -> list[RenderableType]:
    job = explanation.job
    n_ahead = explanation.ahead
    ahead = "" if n_ahead is None else f"; {counted(n_ahead, 'job is', 'jobs are')} ahead of it"
    verdicts = table("node", "verdict", "why")
    for verdict in explanation.nodes:
        add_row(verdicts, verdict.node, *_verdict(verdict))
    story = table("after", "attempt", "what happened", right=("after", "attempt"))
    for at_ms, attempt, what in explanation.story:
        add_row(story, short_ms(at_ms), attempt, what)
    return [f"{job.job_id} ({job.pair}, {'+'.join(job.services)}) {explanation.summary}{ahead}", verdicts, story]


def _verdict(verdict: "NodeVerdict") -> tuple[str, str]:
    if verdict.score is None:
        return verdict.reason, verdict.sentence
    parts = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in verdict.parts.items())
    return f"score {verdict.score:.3g}", f"{parts}; smaller is better"
