"""``ray-sched explain``: why a job is where it is, why all that waits does, and what would become of a job."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.language_check import demand
from ray_sched.cli.output import LAYOUT, Layout, add_row, table
from ray_sched.client.durations import milliseconds
from ray_sched.core.plain import plain
from ray_sched.core.units import counted, short_ms

if TYPE_CHECKING:
    from ray_sched.core.messages.client_dispatcher import JobSpec
    from ray_sched.core.views.explanation import Explanation, NodeVerdict, WaitingRow

_MOST_NODES = 20
_SAMPLES = 3


async def explain(  # noqa: PLR0913  # one option for each thing that may be asked
    call: Call,
    *,
    job: Annotated[str, typer.Argument(help="A job's id, as jobs lists it.")] = "",
    node: Annotated[str, typer.Option(help="Why not on this node: all that would have to change.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All that waits, by reason.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What would become of a job with --from and --to.")
    ] = False,
    src: Annotated[str, typer.Option("--from", help="For --dry-run: the language that is spoken.")] = "en",
    to: Annotated[str | None, typer.Option("--to", help="For --dry-run: the language to translate into.")] = None,
    speech: Annotated[bool, typer.Option("--speech", help="For --dry-run: spoken, too.")] = False,
    tenant: Annotated[str, typer.Option(help="For --dry-run: whose job it is.")] = "",
    needs_gpu: Annotated[bool, typer.Option("--needs-gpu", help="For --dry-run: only on a GPU.")] = False,
    audio_s: Annotated[float, typer.Option("--audio-s", min=0.001, help="For --dry-run: seconds of audio.")] = 5.0,
    output: Annotated[Layout, LAYOUT] = Layout.NARROW,
) -> None:
    """Say why a job is where it is, when it will start, and what would have to be otherwise for it to start now."""
    if sum((bool(job), every, dry_run)) != 1:
        raise typer.BadParameter("name one job, or say --all or --dry-run")
    if every:
        async with call.scheduler() as scheduler:
            rows = await scheduler.explain_all()
        call.out.show(rows, *_overview(rows))
        return
    async with call.scheduler() as scheduler:
        if dry_run:
            spec = _spec(src, to, speech=speech, tenant=tenant, needs_gpu=needs_gpu, audio_s=audio_s)
            explanation = await scheduler.dry_run(spec)
        else:
            explanation = await scheduler.explain(job, node)
    call.out.show(explanation, *_page(explanation, node, is_wide=output is Layout.WIDE), is_wide=output is Layout.WIDE)


def _spec(src: str, to: str | None, *, speech: bool, tenant: str, needs_gpu: bool, audio_s: float) -> "JobSpec":
    from ray_sched.core.capability import AUTO
    from ray_sched.core.messages.client_dispatcher import JobSpec
    from ray_sched.core.messages.recognition import Hints

    needed = demand(src, to, speech=speech)
    return JobSpec(
        request_id="dry-run",
        src=needed.src,
        tgt=needed.tgt,
        services=needed.services,
        tenant=tenant,
        needs_gpu=needs_gpu,
        audio_ms=milliseconds(audio_s, "the audio"),
        hints=Hints(candidates=needed.candidates) if needed.src == AUTO and needed.candidates else None,
    )


def _overview(rows: "list[WaitingRow]") -> list[RenderableType]:
    if not rows:
        return ["no job waits"]
    made = table("reason", "tier", "jobs", "nodes", "oldest", "job", "pairs", right=("jobs", "nodes", "oldest"))
    for row in rows:
        oldest = short_ms(row.oldest_ms)
        add_row(made, row.reason, row.tier, row.jobs, row.nodes or None, oldest, row.oldest_job, ", ".join(row.pairs))
    return [made]


def _page(explanation: "Explanation", node: str, *, is_wide: bool) -> list[RenderableType]:
    job = explanation.job
    page: list[RenderableType] = [f"{job.job_id} ({job.pair}, {'+'.join(job.services)}) {explanation.summary}"]
    if explanation.otherwise and not node:
        page += _otherwise(explanation)
    if node:
        page.append(_verdicts([each for each in explanation.nodes if each.node == node]))
    elif is_wide or len(explanation.nodes) <= _MOST_NODES:
        page.append(_verdicts(list(explanation.nodes)))
    else:
        page.append(_counts(explanation))
    if explanation.then:
        then = explanation.then
        chosen = counted(len(then.nodes), "candidate")
        page.append(f"attempt {then.attempt} went to {then.node} {short_ms(then.ago_ms)} ago, of {chosen} then:")
        page.append(_verdicts(list(then.nodes)))
    if explanation.story:
        story = table("after", "attempt", "what happened", right=("after", "attempt"))
        for at_ms, attempt, what in explanation.story:
            add_row(story, short_ms(at_ms), attempt, what)
        page.append(story)
    return page


def _otherwise(explanation: "Explanation") -> list[RenderableType]:
    """What the sentence has no room for."""
    more = [each for each in explanation.otherwise if any(fact not in explanation.summary for fact in each.facts)]
    return [
        f"or: would start {f'in about {short_ms(each.in_ms)}' if each.in_ms else 'now'} if {' and '.join(each.facts)}"
        for each in more
    ]


def _counts(explanation: "Explanation") -> RenderableType:
    """Of many nodes how many have which reason."""
    made = table("nodes", "verdict", "such as", right=("nodes",))
    for reason, n_nodes in explanation.counts.items():
        names = [each.node for each in explanation.nodes if (each.reason or "CANDIDATE") == reason][:_SAMPLES]
        add_row(made, n_nodes, reason, ", ".join(map(plain, names)))
    made.caption = f"{counted(len(explanation.nodes), 'node')}; each of them with -o wide"
    made.caption_justify = "left"
    return made


def _verdicts(nodes: "list[NodeVerdict]") -> RenderableType:
    verdicts = table("node", "verdict", "why")
    for verdict in nodes:
        add_row(verdicts, verdict.node, *_verdict(verdict))
    return verdicts


def _verdict(verdict: "NodeVerdict") -> tuple[str, str]:
    if verdict.score is None:
        return verdict.reason, verdict.sentence
    parts = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in verdict.parts.items())
    return f"score {verdict.score:.3g}", f"{parts}; smaller is better"
