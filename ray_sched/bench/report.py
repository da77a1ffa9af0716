"""What a benchmark reports: results by name, each the median of its runs, with what is needed to repeat it."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from ray_sched.client.push import Through
from ray_sched.core.errors import Code, SchedError

_PACKAGES = ("ray-sched", "ray", "redis", "msgspec", "numpy")
_CPU_INFO = Path("/proc/cpuinfo")


class Setting(Struct, frozen=True, kw_only=True):
    """Where and how numbers came about."""

    command: str
    machine: str
    versions: dict[str, str]
    load_before: float
    """Processes that wanted a core in the minute before: of others, so the numbers are only as good as this is low."""


class Figures(Struct, frozen=True, kw_only=True):
    """What is measured of a contestant under one load."""

    jobs_per_s: float
    p50_ms: float
    """From submit until the result is in the caller's hands."""
    p99_ms: float
    p999_ms: float
    cpu_ms_per_job: float
    """Of all processes of its cluster: the submitter, Ray, Redis, proxies and actors."""
    peak_rss_mb: float
    """Resident memory of the same processes; pages of the object store count in each process that has seen them."""
    object_store_peak_mb: float
    """Both peaks are those of the same load just before, while it warms up: looking takes CPU."""


class Run(Figures, frozen=True, kw_only=True):
    """One repetition."""

    jobs: int
    through: Through | None = None
    """Bytes of audio that the scheduler's client pushed in it, by their way; None: of a rival."""


class Result(Figures, frozen=True, kw_only=True):
    """The median of each figure over the runs."""

    runs: list[Run]


class Best(Struct, frozen=True, kw_only=True):
    """The number in flight at which a contestant is fastest."""

    in_flight: int
    jobs_per_s: float
    own_is: float
    """The scheduler's best as a multiple of this."""


def median_of(runs: Sequence[Run]) -> Result:
    """Each figure's median over the runs."""
    medians = {name: statistics.median(getattr(run, name) for run in runs) for name in Figures.__struct_fields__}
    return Result(runs=list(runs), **{name: round(median, 3) for name, median in medians.items()})


def through_of(results: Iterable[Result]) -> Through:
    """All that went each way in the runs of these results."""
    return sum((run.through for result in results for run in result.runs if run.through), Through())


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest ranks; ``values`` are sorted and not empty."""
    place = (len(values) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def this_setting(more_packages: Iterable[str] = ()) -> Setting:
    """The setting of this process."""
    name = Path(sys.argv[0]).name
    command = "ray-sched" if name in {"ray-sched", "__main__.py"} else name
    return Setting(
        command=shlex.join([command, *sys.argv[1:]]),
        machine=machine(),
        versions={"python": platform.python_version()} | _versions((*_PACKAGES, *more_packages)),
        load_before=round(os.getloadavg()[0], 2),
    )


def machine() -> str:
    """Cores, processor and system in one line."""
    name = platform.machine()
    if _CPU_INFO.exists():
        names = [line for line in _CPU_INFO.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        name = names[0].partition(":")[2].strip() if names else name
    return f"{os.cpu_count()} cores, {name}, {platform.system()} {platform.release()}"


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def missing_extra(what: str, package: str) -> SchedError:
    """The error that says what to install."""
    return SchedError(Code.MISSING_PART, f"{what} needs {package}; run: pip install 'ray-sched[bench]'")
