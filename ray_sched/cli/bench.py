"""``ray-sched bench``: measurements anyone can repeat."""

from typing import Annotated

import typer

from ray_sched.cli.call import Call, verb
from ray_sched.cli.output import add_row, table

bench = typer.Typer(help="Measure this machine: each benchmark starts a cluster of its own.", no_args_is_help=True)


async def latency(
    call: Call,
    jobs: Annotated[int, typer.Option(min=2, max=100_000, help="Utterances to submit, one at a time.")] = 200,
    audio_s: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds of audio in each.")] = 5.0,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="Nodes of the local cluster.")] = 1,
) -> int:
    """What the scheduler adds to one utterance on an idle cluster: echo engine, one at a time."""
    from ray_sched.bench.latency import measure_latency

    call.last_words = "interrupted; nothing is left running"
    with call.out.steps():
        call.out.step(f"starting a cluster and submitting {jobs} utterances, one at a time")
        report = await measure_latency(call.settings, jobs, audio_s, nodes)
    page = table("added ms, p50", "p99", "jobs", "bytes each", "nodes", right=("added ms, p50", "p99", "jobs"))
    add_row(page, report.added_ms.p50, report.added_ms.p99, report.jobs, report.audio_bytes, report.nodes)
    call.out.show(report, page, f"{report.machine}; {', '.join(f'{k} {v}' for k, v in report.versions.items())}")
    return 0


bench.command()(verb(latency))
