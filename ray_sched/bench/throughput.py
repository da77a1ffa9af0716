"""Throughput: jobs a second with many in flight, what each costs in time and CPU, beside what users would pick instead.

All contestants run on one cluster, with the same utterances and the same work, in turn.
"""

import time

import numpy as np
from msgspec import Struct

from ray_sched.bench.arena import ArenaPlan, arena
from ray_sched.bench.contest import Contest, Length, Say
from ray_sched.bench.load import Audio
from ray_sched.bench.ours import Ours
from ray_sched.bench.report import Best, Result, Run, Setting, median_of, this_setting
from ray_sched.settings import Settings

_MIN_SLOTS = 4
_TINY_SAMPLES = 160


class ThroughputPlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    in_flight: tuple[int, ...] = (64,)
    """Each of these in turn; ``results`` are of the first."""
    rivals: tuple[str, ...] = ()
    runs: int = 5
    length: Length = Length()
    audio_s: float = 5.0
    nodes: int = 4
    slots: int = 0
    """Of each node; 0: so many that everything in flight has one."""
    is_together: bool = False
    with_half_load: bool = False
    bulk: int = 0
    """So many small jobs submitted at once to the scheduler; 0: not measured."""


class HalfLoad(Struct, frozen=True, kw_only=True):
    """Jobs that arrive at random, half as many as the contestant has carried."""

    per_s: float
    result: Result


class Bulk(Struct, frozen=True, kw_only=True):
    """Many small jobs submitted at once."""

    jobs: int
    audio_bytes: int
    jobs_per_s: float
    runs: list[float]


class ThroughputReport(Struct, frozen=True, kw_only=True):
    """What ``bench throughput --json`` prints."""

    setting: Setting
    audio_bytes: int
    nodes: int
    slots: int
    """Of the scheduler, in all."""
    in_flight: int
    notes: dict[str, str]
    """What each contestant is."""
    results: dict[str, Result]
    by_in_flight: dict[str, dict[str, Result]]
    """The same for each number in flight."""
    best: dict[str, Best]
    half_load: dict[str, HalfLoad]
    bulk: Bulk | None = None


async def measure_throughput(settings: Settings, plan: ThroughputPlan, say: Say) -> ThroughputReport:
    """Start the arena, measure what the plan says, and leave nothing running."""
    setting = this_setting()
    audio = Audio(plan.audio_s)
    slots = plan.slots or max(max(plan.in_flight) // plan.nodes, _MIN_SLOTS)
    where = ArenaPlan(nodes=plan.nodes, slots=slots, rivals=plan.rivals, is_together=plan.is_together)
    by_in_flight: dict[str, dict[str, Result]] = {}
    half_load: dict[str, HalfLoad] = {}
    async with arena(settings, where, say) as (_, contestants):
        contest = Contest(contestants, audio, say)
        for in_flight in plan.in_flight:
            by_in_flight[str(in_flight)] = _medians(await contest.closed(in_flight, plan.runs, plan.length))
        best = _best(by_in_flight)
        if plan.with_half_load:
            per_s = {name: found.jobs_per_s / 2 for name, found in best.items()}
            runs = _medians(await contest.open_loop(per_s, plan.runs, plan.length))
            half_load = {name: HalfLoad(per_s=per_s[name], result=result) for name, result in runs.items()}
        ours = next(one for one in contestants if isinstance(one, Ours))
        bulk = await _measure_bulk(ours, plan, say) if plan.bulk else None
    return ThroughputReport(
        setting=setting,
        audio_bytes=audio.n_bytes,
        nodes=plan.nodes,
        slots=slots * plan.nodes,
        in_flight=plan.in_flight[0],
        notes={one.name: one.note for one in contestants},
        results=by_in_flight[str(plan.in_flight[0])],
        by_in_flight=by_in_flight,
        best=best,
        half_load=half_load,
        bulk=bulk,
    )


def _medians(runs: dict[str, list[Run]]) -> dict[str, Result]:
    return {name: median_of(each) for name, each in runs.items()}


def _best(by_in_flight: dict[str, dict[str, Result]]) -> dict[str, Best]:
    best: dict[str, Best] = {}
    for in_flight, results in by_in_flight.items():
        for name, result in results.items():
            if name not in best or result.jobs_per_s > best[name].jobs_per_s:
                best[name] = Best(in_flight=int(in_flight), jobs_per_s=result.jobs_per_s)
    return best


async def _measure_bulk(ours: Ours, plan: ThroughputPlan, say: Say) -> Bulk:
    tiny = np.zeros(_TINY_SAMPLES, np.int16)
    per_s = []
    for _ in range(plan.runs):
        began_s = time.perf_counter()
        handles = ours.client.submit_many([tiny] * plan.bulk, src="en", deadline_s=600)
        for handle in handles:
            await handle
        per_s.append(round(plan.bulk / (time.perf_counter() - began_s), 1))
        say(f"{plan.bulk} small jobs at once: {per_s[-1]:.0f} jobs/s")
    return Bulk(jobs=plan.bulk, audio_bytes=tiny.nbytes, jobs_per_s=float(np.median(per_s)), runs=per_s)
