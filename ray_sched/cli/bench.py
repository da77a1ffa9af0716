"""``ray-sched bench``: measurements anyone can repeat."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_sched.cli.call import Call, verb
from ray_sched.cli.engine_options import Options, absolute
from ray_sched.cli.named_values import named_values
from ray_sched.cli.output import add_row, table

if TYPE_CHECKING:
    from ray_sched.bench.engine import EngineResult
    from ray_sched.bench.memory import MemoryReport
    from ray_sched.bench.report import Best, Result, Setting
    from ray_sched.bench.throughput import HalfLoad

bench = typer.Typer(help="Measure this machine: each benchmark starts a cluster of its own.", no_args_is_help=True)

_LAST_WORDS = "interrupted; nothing is left running"

Compare = Annotated[
    str,
    typer.Option(
        help="Measure these, too, in turn, each alone on a cluster of its own: in-call, serve, serve-value, "
        "serve-http, serve-tuned, serve-http-tuned, actorpool, tasks, raw; separated by commas."
    ),
]
Together = Annotated[
    bool,
    typer.Option("--together", help="What is compared has its actors all on the submitter's node, not one on each."),
]
AudioSeconds = Annotated[float, typer.Option(min=0.1, max=60, help="Seconds of audio in each utterance.")]
Nodes = Annotated[int, typer.Option(min=1, max=16, help="Nodes of the local cluster.")]
Runs = Annotated[int, typer.Option(min=1, max=100, help="Repetitions; the figures are their medians.")]
WarmUp = Annotated[float, typer.Option("--warm-up", min=0.1, help="Seconds of each load before it is measured.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png|svg", help="Draw a picture, too.", dir_okay=False)]


async def latency(  # noqa: PLR0913  # one parameter per option
    call: Call,
    *,
    jobs: Annotated[int, typer.Option(min=2, max=100_000, help="Utterances to submit, one at a time.")] = 1_000,
    audio_s: AudioSeconds = 5.0,
    nodes: Nodes = 1,
    runs: Runs = 1,
    warm_up_s: WarmUp = 2.0,
    compare: Compare = "",
    together: Together = False,
    plot: Plot = None,
) -> int:
    """What the scheduler adds to one utterance on an idle cluster: echo engine, one at a time."""
    from ray_sched.bench.latency import LatencyPlan, measure_latency
    from ray_sched.bench.plot import check_plot, plot_contest

    call.last_words = _LAST_WORDS
    check_plot(plot)
    plan = LatencyPlan(
        rivals=_names(compare),
        runs=runs,
        jobs=jobs,
        audio_s=audio_s,
        warm_up_s=warm_up_s,
        nodes=nodes,
        is_together=together,
    )
    with call.out.steps():
        report = await measure_latency(call.settings, plan, call.out.step)
    if plot:
        plot_contest(plot, {"1": report.results}, report.setting)
    title = f"one at a time, {report.audio_bytes} bytes each, {report.nodes} nodes"
    added = [f"what ray_sched adds (p50) is {times:.2f} x what {name} adds" for name, times in report.p50_to.items()]
    call.out.show(report, _results(title, report.results), *added, *_closing(report.setting, report.notes))
    return 0


async def throughput(  # noqa: PLR0913  # one parameter per option
    call: Call,
    *,
    in_flight: Annotated[
        str, typer.Option(help="Jobs in flight; several numbers, separated by commas, in turn.")
    ] = "64",
    jobs: Annotated[int, typer.Option(min=0, help="Jobs of one run; 0: as many as there is time for.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a run without --jobs.")] = 3.0,
    audio_s: AudioSeconds = 5.0,
    nodes: Nodes = 4,
    slots: Annotated[int, typer.Option(min=0, help="Of each node; 0: one for each job in flight.")] = 0,
    runs: Runs = 5,
    warm_up_s: WarmUp = 2.0,
    compare: Compare = "",
    together: Together = False,
    half_load: Annotated[
        bool, typer.Option("--half-load", help="Times at half of each one's best throughput, too.")
    ] = False,
    bulk: Annotated[int, typer.Option(min=0, help="So many small jobs submitted at once, too.")] = 0,
    plot: Plot = None,
) -> int:
    """Jobs a second with many in flight, and what each costs: echo engine, distinct utterances."""
    from ray_sched.bench.contest import Length
    from ray_sched.bench.plot import check_plot, plot_contest
    from ray_sched.bench.throughput import ThroughputPlan, measure_throughput

    call.last_words = _LAST_WORDS
    check_plot(plot)
    plan = ThroughputPlan(
        in_flight=_numbers(in_flight),
        rivals=_names(compare),
        runs=runs,
        length=Length(jobs=jobs, seconds=seconds),
        audio_s=audio_s,
        warm_up_s=warm_up_s,
        nodes=nodes,
        slots=slots,
        is_together=together,
        with_half_load=half_load,
        bulk=bulk,
    )
    with call.out.steps():
        report = await measure_throughput(call.settings, plan, call.out.step)
    if plot:
        plot_contest(plot, report.by_in_flight, report.setting)
    where = f"{report.audio_bytes} bytes each, {report.nodes} nodes"
    pages: list[Any] = [_results(f"{n} in flight, {where}", results) for n, results in report.by_in_flight.items()]
    if len(report.by_in_flight) > 1:
        pages.append(_bests(report.best))
    if report.half_load:
        pages.append(_halves(report.half_load))
    if report.bulk:
        pages.append(f"{report.bulk.jobs} small jobs submitted at once: {report.bulk.jobs_per_s:.0f} jobs/s")
    call.out.show(report, *pages, *_closing(report.setting, report.notes))
    return 0


async def memory(
    call: Call,
    *,
    burst: Annotated[int, typer.Option(min=1, help="Utterances of 1 to 10 s at the beginning.")] = 1_000,
    hour_s: Annotated[
        float, typer.Option(min=0, help="Seconds the steady hour is compressed into; 0: only the growth run.")
    ] = 60.0,
    per_s: Annotated[float, typer.Option(min=0.1, help="Utterances a second in the compressed hour.")] = 20.0,
    jobs: Annotated[int, typer.Option(min=0, help="Jobs of the growth run of one Dispatcher; 0: none.")] = 100_000,
    plot: Plot = None,
) -> int:
    """What is held for jobs, three ways: audio and jobs for ever, audio with the job, and as the scheduler does."""
    from ray_sched.bench.memory import MemoryPlan, measure_memory
    from ray_sched.bench.plot import check_plot, plot_memory

    call.last_words = _LAST_WORDS
    check_plot(plot)
    plan = MemoryPlan(burst=burst, hour_s=hour_s, per_s=per_s, growth_jobs=jobs)
    with call.out.steps():
        report = await measure_memory(call.settings, plan, call.out.step)
    if plot:
        plot_memory(plot, report.ways, report.growth, report.setting)
    call.out.show(report, *_memory_pages(report), *_closing(report.setting, {}))
    return 0


def _memory_pages(report: "MemoryReport") -> list[Any]:
    figures = ("jobs done", "audio MB", "store MB", "job objects", "Dispatcher MB", "audio saved by ours")
    page = table("audio is kept", *figures, title="means of the second half of the hour", right=figures)
    for name, way in report.ways.items():
        saved = report.audio_saved_percent.get(name)
        add_row(
            page,
            name,
            way.jobs_done,
            f"{way.audio_mb:,.2f}",
            f"{way.store_mb:,.2f}",
            f"{way.jobs:,.0f}",
            f"{way.dispatcher_mb:.1f}",
            "" if saved is None else f"{saved:.1f} %",
        )
    expected = f"expected job objects: {report.expected_jobs:,.0f}, finished ones being kept for {report.keep_s:.1f} s"
    pages: list[Any] = [page, expected] if report.ways else []
    if report.growth:
        grown = report.growth
        pages.append(
            f"one Dispatcher over {grown.jobs:,} jobs, each forgotten soon: its memory grew by {grown.grew_mb:.2f} MB,"
            f" a job cost {grown.cpu_us_per_job:.0f} us of its CPU; a finished job is {grown.bytes_per_finished_job:,}"
            " bytes of objects until clean-up, most of them made at "
            + ", ".join(f"{place} ({n_bytes})" for place, n_bytes in list(grown.largest.items())[:5])
        )
    return pages


async def scale(
    call: Call,
    *,
    what: Annotated[str, typer.Option(help="What grows, separated by commas.")] = "nodes,pools,sessions,waiting",
    jobs: Annotated[int, typer.Option(min=30, help="Jobs of each size.")] = 6_000,
    plot: Plot = None,
) -> int:
    """What a job costs the Dispatcher as nodes, pools, sessions and waiting jobs become many."""
    from ray_sched.bench.plot import check_plot, plot_scale
    from ray_sched.bench.scale import SHAPES, measure_scale

    names = _names(what)
    if not names or not set(names) <= set(SHAPES):
        raise typer.BadParameter(f"{what!r} is not a list out of {', '.join(SHAPES)}")
    call.last_words = _LAST_WORDS
    check_plot(plot)
    with call.out.steps():
        report = await measure_scale(names, jobs, call.out.step)
    if plot:
        plot_scale(plot, report.steps, report.setting)
    figures = ("size", "CPU us/job", "jobs/s per core", "exponent", "offers % of a core")
    page = table("what grows", *figures, right=figures)
    for name, steps in report.steps.items():
        for step in steps:
            cells = (f"{step.cpu_us_per_job:.0f}", f"{step.jobs_per_s:,.0f}", step.exponent)
            add_row(page, name, f"{step.size:,}", *cells, f"{step.core_percent_of_offers:.2f}")
    steep = f"cost grows like size to the exponent; worse than a logarithm: {'; '.join(report.too_steep) or 'nothing'}"
    call.out.show(report, page, steep, *_closing(report.setting, {}))
    return 0


async def explain(
    call: Call,
    *,
    nodes: Annotated[int, typer.Option(min=1, max=5_000, help="Nodes, all of them full.")] = 1_000,
    waiting: Annotated[int, typer.Option(min=1, max=100_000, help="Jobs that wait.")] = 10_000,
    questions: Annotated[int, typer.Option(min=1, max=10_000, help="How many of them are explained.")] = 200,
) -> int:
    """What it takes to explain why a job waits, and how long everybody else waits meanwhile."""
    from ray_sched.bench.explaining import measure_explain

    call.last_words = _LAST_WORDS
    with call.out.steps():
        report = await measure_explain(nodes, waiting, questions, call.out.step)
    figures = ("p50 ms", "p99 ms")
    page = table("CPU of the Dispatcher", *figures, "longest ms", right=(*figures, "longest ms"))
    add_row(page, "an explanation", report.p50_ms, report.p99_ms, None)
    slices = (report.longest_slice_p50_ms, report.longest_slice_p99_ms, report.longest_slice_ms)
    add_row(page, "its longest part at a time", *slices)
    call.out.show(report, page, *_closing(report.setting, {}))
    return 0


async def engine(  # noqa: PLR0913  # one parameter per option
    call: Call,
    *,
    asr_model: Annotated[
        str, typer.Option("--asr-model", metavar="NAME|PATH", help="Whisper; else the one of the extra weights.")
    ] = "",
    option: Options = None,
    slots: Annotated[str, typer.Option(help="Utterances served at the same time; several numbers in turn.")] = "1,4,16",
    replicas: Annotated[
        str, typer.Option(help="Processes that share the cores for four slots; several numbers in turn.")
    ] = "",
    compare: Annotated[
        str, typer.Option(help="Measure these, too: batched, copies, bare, bare-batched, serve-batch.")
    ] = "bare",
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a run.")] = 20.0,
    runs: Runs = 1,
    warm_up_s: WarmUp = 5.0,
) -> int:
    """A real model behind the scheduler, beside the same model without it: Whisper, the shipped recordings."""
    from ray_sched.bench.engine import EnginePlan, default_model, measure_engine

    call.last_words = _LAST_WORDS
    plan = EnginePlan(
        options={"asr-model": absolute(asr_model) if asr_model else default_model()} | named_values(option),
        slots=_numbers(slots),
        replicas=_numbers(replicas) if replicas else (),
        rivals=_names(compare),
        runs=runs,
        seconds=seconds,
        warm_up_s=warm_up_s,
    )
    with call.out.steps():
        report = await measure_engine(call.settings, plan, call.out.step)
    pages = [_engines(f"{n} slots", each) for n, each in report.by_slots.items()]
    if report.by_replicas:
        pages.append(_engines("ray_sched, four slots, by replicas", report.by_replicas, has_own=False))
    call.out.show(report, *pages, *_closing(report.setting, report.notes))
    return 0


def _engines(title: str, results: "Mapping[str, EngineResult]", *, has_own: bool = True) -> Any:
    """A row for each contestant; ``ray_sched is`` so many times as fast."""
    times = ("p50 ms", "p99 ms")
    figures = ("audio s/s", "audio s/model CPU s", "cores beside", *times, "model MB", "word errors", "ray_sched is")
    page = table("", *figures, title=title, right=figures)
    own = next(iter(results.values()))
    for name, one in results.items():
        add_row(
            page,
            name,
            f"{one.audio_s_per_s:.1f}",
            f"{one.audio_s_per_cpu_s:.1f}",
            f"{one.beside_cores:.2f}",
            f"{one.p50_ms:,.0f}",
            f"{one.p99_ms:,.0f}",
            f"{one.model_mb:,.0f}",
            f"{one.word_errors_percent:.1f} %",
            f"{own.audio_s_per_s / one.audio_s_per_s:.2f} x" if has_own and one is not own else "",
        )
    return page


def _results(title: str, results: "Mapping[str, Result]") -> Any:
    """A row for each contestant; ``ray_sched is`` so many times as fast."""
    figures = ("jobs/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU ms/job", "peak RSS MB", "store peak MB", "ray_sched is")
    page = table("", *figures, title=title, right=figures)
    own = next(iter(results.values()))
    for name, one in results.items():
        add_row(
            page,
            name,
            f"{one.jobs_per_s:,.0f}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.p999_ms:.2f}",
            f"{one.cpu_ms_per_job:.2f}",
            f"{one.peak_rss_mb:,.0f}",
            f"{one.object_store_peak_mb:.1f}",
            "" if one is own else f"{own.jobs_per_s / one.jobs_per_s:.2f} x",
        )
    return page


def _bests(best: "Mapping[str, Best]") -> Any:
    """A row for each contestant at the number in flight that suits it best."""
    figures = ("in flight", "jobs/s", "ray_sched is")
    page = table("", *figures, title="best over these numbers in flight", right=figures)
    own = next(iter(best.values()))
    for name, one in best.items():
        add_row(page, name, one.in_flight, f"{one.jobs_per_s:,.0f}", "" if one is own else f"{one.own_is:.2f} x")
    return page


def _halves(halves: "Mapping[str, HalfLoad]") -> Any:
    """A row for each contestant that can submit on time."""
    figures = ("jobs/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU ms/job", "p99/p50")
    page = table("", *figures, title="arriving at random, at half of the best throughput", right=figures)
    for name, half in halves.items():
        one = half.result
        times = (f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.p999_ms:.2f}", f"{one.cpu_ms_per_job:.2f}")
        add_row(page, name, f"{half.per_s:,.0f}", *times, f"{half.p99_to_p50:.2f}")
    return page


def _closing(setting: "Setting", notes: "Mapping[str, str]") -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in setting.versions.items())
    return [
        *(f"{name}: {note}" for name, note in notes.items()),
        setting.command,
        f"{setting.machine}; {versions}; load before: {setting.load_before}",
    ]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= _MOST_IN_FLIGHT for number in numbers):
        raise typer.BadParameter(f"{text!r} is not a list of numbers from 1 to {_MOST_IN_FLIGHT}, such as 64,128")
    return numbers


_MOST_IN_FLIGHT = 1_000

for measurement in (latency, throughput, memory, scale, explain, engine):
    bench.command()(verb(measurement))
