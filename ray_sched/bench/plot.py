"""Pictures of benchmarks, written to a file; matplotlib is needed for nothing else."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from ray_sched.bench.growth import Growth
from ray_sched.bench.memory import Sample, Way
from ray_sched.bench.report import Result, Setting, missing_extra
from ray_sched.bench.scale import Step

_LINE_LENGTH = 150
_OWN, _OTHERS, _SECOND = "#c2410c", "#475569", "#94a3b8"


def check_plot(path: Path | None) -> None:
    """Raise MISSING_PART before anything is measured if a picture is wanted that cannot be drawn."""
    if path is not None:
        _figure(1, 1)


def plot_contest(path: Path, by_in_flight: Mapping[str, Mapping[str, Result]], setting: Setting) -> None:
    """Jobs a second, times and CPU of each contestant at the first number in flight; and at all of them, if several."""
    figure, axes = _figure(3 if len(by_in_flight) == 1 else 4, 1)
    first, results = next(iter(by_in_flight.items()))
    _bars(axes[0], f"jobs/s, {first} in flight", {name: [one.jobs_per_s] for name, one in results.items()})
    _bars(axes[1], "p50 and p99, ms", {name: [one.p50_ms, one.p99_ms] for name, one in results.items()}, is_log=True)
    _bars(axes[2], "CPU per job, ms", {name: [one.cpu_ms_per_job] for name, one in results.items()})
    if len(by_in_flight) > 1:
        _lines(axes[3], by_in_flight)
    _save(figure, path, setting)


def plot_scale(path: Path, steps: Mapping[str, Sequence[Step]], setting: Setting) -> None:
    """CPU per job by size, one picture for each thing that grows."""
    figure, axes = _figure(len(steps), 1)
    for axis, (name, each) in zip(axes, steps.items(), strict=True):
        sizes = [max(step.size, 1) for step in each]
        axis.plot(sizes, [step.cpu_us_per_job for step in each], marker="o", color=_OWN)
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{step.size:,}" for step in each])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_title(f"{name}: us of the Dispatcher's CPU per job", fontsize=10, loc="left")
    _save(figure, path, setting)


def plot_memory(path: Path, ways: Mapping[str, Way], growth: Growth | None, setting: Setting) -> None:
    """What is held over time, a line for each way; and the Dispatcher's memory over many jobs."""
    figures: dict[str, Callable[[Sample], float]] = {
        "audio held, MB": lambda sample: sample.audio_mb,
        "object store, MB": lambda sample: sample.store_mb,
        "job objects": lambda sample: sample.jobs,
        "memory of the Dispatcher, MB": lambda sample: sample.dispatcher_mb,
    }
    names = list(figures) if ways else []
    figure, axes = _figure(len(names) + (growth is not None), 1)
    for axis, title in zip(axes, names, strict=False):
        for name, way in ways.items():
            values = [figures[title](sample) for sample in way.samples]
            axis.plot([sample.at_s for sample in way.samples], values, label=name)
        axis.set_title(f"{title}, by seconds", fontsize=10, loc="left")
        axis.legend(fontsize=8)
    if growth:
        axes[-1].plot([one.jobs for one in growth.samples], [one.rss_mb for one in growth.samples], color=_OWN)
        axes[-1].set_title("memory of a Dispatcher, MB, by jobs done and forgotten", fontsize=10, loc="left")
        axes[-1].set_ylim(0, 1.3 * max(one.rss_mb for one in growth.samples))
    _save(figure, path, setting)


def _bars(axis: Any, title: str, values: Mapping[str, list[float]], *, is_log: bool = False) -> None:
    names = list(values)
    for number in range(len(next(iter(values.values())))):
        height = 0.8 / len(values[names[0]])
        places = [place + number * height for place in range(len(names))]
        colours = [_SECOND if number else _OWN if name == names[0] else _OTHERS for name in names]
        bars = axis.barh(places, [values[name][number] for name in names], height=height, color=colours)
        axis.bar_label(bars, fmt="{:,.4g}", padding=3, fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10, loc="left")
    axis.margins(x=0.15)
    if is_log:
        axis.set_xscale("log")


def _lines(axis: Any, by_in_flight: Mapping[str, Mapping[str, Result]]) -> None:
    places = [int(in_flight) for in_flight in by_in_flight]
    for name in next(iter(by_in_flight.values())):
        axis.plot(places, [results[name].jobs_per_s for results in by_in_flight.values()], marker="o", label=name)
    axis.set_title("jobs/s by jobs in flight", fontsize=10, loc="left")
    axis.set_xscale("log", base=2)
    axis.set_xticks(places, [str(place) for place in places])
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def _figure(n_rows: int, n_columns: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # an extra dependency, and a slow import
    except ImportError:
        raise missing_extra("a picture", "matplotlib") from None
    figure = Figure(figsize=(9 * n_columns, 2.8 * n_rows), layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, squeeze=False).ravel()


def _save(figure: Any, path: Path, setting: Setting) -> None:
    versions = ", ".join(f"{name} {number}" for name, number in setting.versions.items())
    lines = [line for text in (setting.command, f"{setting.machine}; {versions}") for line in wrap(text, _LINE_LENGTH)]
    figure.supxlabel("\n".join(lines), fontsize=7)
    figure.savefig(path)
