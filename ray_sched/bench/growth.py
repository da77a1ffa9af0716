"""The Dispatcher's memory: what it grows by over many jobs it has forgotten, and the size of a finished one it keeps.

The real Dispatcher with a real Redis, without Ray (see ``simulated``), so that a million jobs take minutes.
"""

import gc
import tracemalloc
from collections.abc import Iterable

import psutil
from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.processes import rss_bytes
from ray_sched.bench.scale import fresh_store
from ray_sched.bench.simulated import Shape, SimulatedCluster

_MB = 2**20
_SHAPE = Shape(sessions=50)
_CLEAN_EVERY = 2_000
_SAMPLES = 50
_WARM_UP_SHARE = 0.05
_SIZED = 5_000


class GrowthSample(Struct, frozen=True, kw_only=True):
    """One moment."""

    jobs: int
    rss_mb: float


class Growth(Struct, frozen=True, kw_only=True):
    """What a Dispatcher's memory did over many jobs, all of them forgotten soon after their end."""

    jobs: int
    grew_mb: float
    """From the mean of the first tenth after the warm-up to that of the last."""
    samples: list[GrowthSample]
    bytes_per_finished_job: int
    """Python objects that are there for a finished job until clean-up, in all of the Dispatcher."""
    largest: dict[str, int]
    """Where they were made: bytes per job by line of code, the largest first."""
    cpu_us_per_job: float


async def measure_growth(n_jobs: int, notify: Notify) -> Growth:
    """Run so many jobs through one Dispatcher, then weigh what a finished one leaves until clean-up."""
    async with fresh_store() as store:
        cluster = SimulatedCluster(_SHAPE, store)
        samples = await _run(cluster, n_jobs, notify)
        cost_us = cluster.per_job.spent_s * 1e6 / n_jobs
    async with fresh_store() as store:
        bytes_per_job, largest = await _weigh(SimulatedCluster(_SHAPE, store))
    steady = samples[round(len(samples) * _WARM_UP_SHARE) :]
    tenth = max(len(steady) // 10, 1)
    return Growth(
        jobs=n_jobs,
        grew_mb=round(_mean_mb(steady[-tenth:]) - _mean_mb(steady[:tenth]), 2),
        samples=samples,
        bytes_per_finished_job=bytes_per_job,
        largest=largest,
        cpu_us_per_job=round(cost_us, 1),
    )


async def _run(cluster: SimulatedCluster, n_jobs: int, notify: Notify) -> list[GrowthSample]:
    """In parts, each followed by a clean-up that keeps nothing."""
    me = psutil.Process()
    samples = []
    done = 0
    sample_at = n_jobs / _SAMPLES
    while done < n_jobs:
        part = min(_CLEAN_EVERY, n_jobs - done)
        await cluster.run(part)
        await cluster.dispatcher.cleanup(0)
        done += part
        if done >= sample_at or done == n_jobs:
            samples.append(GrowthSample(jobs=done, rss_mb=round(rss_bytes(me) / _MB, 2)))
            notify(f"{done} jobs: {samples[-1].rss_mb:.1f} MB")
            sample_at += n_jobs / _SAMPLES
    return samples


async def _weigh(cluster: SimulatedCluster) -> tuple[int, dict[str, int]]:
    """Bytes of Python objects per finished job, and the lines of code that made most of them.

    What is kept of the latest only, however many jobs there are, is full and traced before the jobs that are weighed.
    """
    tracemalloc.start()
    try:
        await cluster.run(_SIZED)
        await cluster.drain()
        await cluster.dispatcher.cleanup(0)
        gc.collect()
        before = tracemalloc.take_snapshot()
        await cluster.run(_SIZED)
        await cluster.drain()
        gc.collect()
        grown = tracemalloc.take_snapshot().compare_to(before, "lineno")
    finally:
        tracemalloc.stop()
    own = [one for one in grown if "tracemalloc" not in one.traceback[0].filename]
    largest = sorted(own, key=lambda one: one.size_diff, reverse=True)[:8]
    where = {_place(one.traceback): round(one.size_diff / _SIZED) for one in largest}
    return round(sum(one.size_diff for one in own) / _SIZED), where


def _place(traceback: Iterable[tracemalloc.Frame]) -> str:
    frame = next(iter(traceback))
    return f"{'/'.join(frame.filename.rsplit('/', 2)[-2:])}:{frame.lineno}"


def _mean_mb(samples: list[GrowthSample]) -> float:
    return sum(sample.rss_mb for sample in samples) / len(samples)
