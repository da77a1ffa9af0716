"""One contestant's trial: it has the machine for itself, is warmed up at each load, and measured.

Memory is looked at while it warms up: looking takes CPU, of the same process, and would show in the times.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
from msgspec import Struct

from ray_sched.bench.contest import Contestant, Length, Notify
from ray_sched.bench.load import Audio, Supply
from ray_sched.bench.own_contestant import OwnContestant
from ray_sched.bench.processes import CpuSpent, PeakMemory, family
from ray_sched.bench.report import Run, percentile
from ray_sched.client.push import Through
from ray_sched.system.store_stats import object_store_stats

WARM_UP_S = 2.0
_TINY_SAMPLES = 160
TINY_BYTES = 2 * _TINY_SAMPLES

Drive = Callable[[Supply], Awaitable[None]]


class Trial(Struct, frozen=True, kw_only=True, tag=True):
    """What is measured in one trial, the same for everybody."""

    in_flight: tuple[int, ...]
    """Each of these, one after the other."""
    length: Length
    audio_s: float
    has_half_load: bool = False
    bulk: int = 0
    """So many small jobs submitted at once, by the scheduler only; 0: not measured."""
    warm_up_s: float = WARM_UP_S


class HalfRun(Struct, frozen=True, kw_only=True):
    """Jobs that arrive at random, half as many as the contestant carried at most in the same trial."""

    per_s: float
    run: Run


class TrialResult(Struct, frozen=True, kw_only=True, tag=True):
    """The result of a trial."""

    note: str
    """What the contestant is."""
    closed: dict[int, Run]
    """By the number in flight."""
    half: HalfRun | None = None
    """None: not asked for, or a contestant that cannot submit on time."""
    bulk_per_s: float = 0.0


async def run_trial(
    one: Contestant,
    trial: Trial,
    notify: Notify,
    store_bytes: Callable[[], int] = lambda: object_store_stats().bytes_used,
) -> TrialResult:
    """Measure a contestant that has started. ``store_bytes``: what the object stores hold now."""
    measure = _Measure(Audio(trial.audio_s), trial, store_bytes, partial(_through, one))
    closed: dict[int, Run] = {}
    for in_flight in trial.in_flight:
        closed[in_flight] = run = await measure.run(partial(one.closed, in_flight=in_flight))
        notify(f"{one.name}, {in_flight} in flight: {run.jobs_per_s:,.0f} jobs/s, p50 {run.p50_ms:.1f} ms")
    half = None
    if trial.has_half_load:
        half = await _half_load(one, max(run.jobs_per_s for run in closed.values()) / 2, measure, notify)
    bulk_per_s = 0.0
    if trial.bulk and isinstance(one, OwnContestant):
        bulk_per_s = await _bulk(one, trial.bulk)
        notify(f"{trial.bulk} small jobs at once: {bulk_per_s:,.0f} jobs/s")
    return TrialResult(note=one.note, closed=closed, half=half, bulk_per_s=bulk_per_s)


async def _half_load(one: Contestant, per_s: float, measure: "_Measure", notify: Notify) -> HalfRun | None:
    try:
        run = await measure.run(partial(one.open_loop, per_s=per_s))
    except NotImplementedError:
        return None
    notify(f"{one.name}, {per_s:,.0f} jobs/s at random: p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms")
    return HalfRun(per_s=round(per_s, 1), run=run)


async def _bulk(own: OwnContestant, n_jobs: int) -> float:
    tiny = np.zeros(_TINY_SAMPLES, np.int16)
    began_s = time.perf_counter()
    for handle in own.client.submit_many([tiny] * n_jobs, src="en", deadline_s=600):
        await handle
    return round(n_jobs / (time.perf_counter() - began_s), 1)


def _through(one: Contestant) -> Through | None:
    """What the scheduler's client has pushed so far, as it has counted it itself."""
    return one.client.through if isinstance(one, OwnContestant) else None


class _Measure:
    """Runs of one contestant."""

    def __init__(
        self, audio: Audio, trial: Trial, store_bytes: Callable[[], int], through: Callable[[], Through | None]
    ) -> None:
        self._through = through
        self._audio = audio
        self._trial = trial
        self._store_bytes = store_bytes

    async def run(self, drive: Drive) -> Run:
        """Warm up, and measure."""
        with PeakMemory(family(), self._store_bytes) as peak:
            await drive(Supply(self._audio, jobs=0, seconds=self._trial.warm_up_s))
        before = self._through()
        with CpuSpent() as cpu:
            supply = Supply(self._audio, jobs=self._trial.length.jobs, seconds=self._trial.length.seconds)
            await drive(supply)
        after = self._through()
        took_ms = sorted(supply.took_ms)
        return Run(
            jobs=len(took_ms),
            jobs_per_s=round(len(took_ms) / supply.took_s, 1),
            p50_ms=round(percentile(took_ms, 50), 3),
            p99_ms=round(percentile(took_ms, 99), 3),
            p999_ms=round(percentile(took_ms, 99.9), 3),
            cpu_ms_per_job=round(cpu.spent_s * 1000 / len(took_ms), 3),
            peak_rss_mb=round(peak.rss_mb, 1),
            object_store_peak_mb=round(peak.store_mb, 2),
            through=after - before if after and before else None,
        )
