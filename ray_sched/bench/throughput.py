"""Throughput: jobs a second with many in flight, what each costs in time and CPU, beside what users would pick instead.

Everybody has the same utterances, the same work and a cluster of the same shape, one after the other.
"""

import statistics
from collections.abc import Mapping, Sequence

from msgspec import Struct

from ray_sched.bench.contest import Length, Notify
from ray_sched.bench.environment import EnvironmentPlan
from ray_sched.bench.load import bytes_of
from ray_sched.bench.own_contestant import OwnContestant
from ray_sched.bench.report import Best, Result, Setting, median_of, this_setting, through_of
from ray_sched.bench.rounds import Contest, hold, notes_of, results_by_in_flight
from ray_sched.bench.trial import TINY_BYTES, WARM_UP_S, Trial, TrialResult
from ray_sched.client.push import Through
from ray_sched.settings import Settings

_MIN_SLOTS = 4


class ThroughputPlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    in_flight: tuple[int, ...] = (64,)
    """Each of these, one after the other; ``results`` are of the first."""
    rivals: tuple[str, ...] = ()
    runs: int = 5
    length: Length = Length()
    audio_s: float = 5.0
    warm_up_s: float = WARM_UP_S
    """Of each load, in each trial."""
    nodes: int = 4
    slots: int = 0
    """Of each node; 0: so many that everything in flight has one."""
    is_together: bool = False
    with_half_load: bool = False
    bulk: int = 0
    """So many small jobs submitted at once to the scheduler; 0: not measured."""


class HalfLoad(Struct, frozen=True, kw_only=True):
    """Jobs that arrive at random, in each trial half as many as the contestant carried at most in that trial."""

    per_s: float
    """The median over the trials."""
    p99_to_p50: float
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
    """Over all the numbers in flight."""
    through: Through
    """Bytes of audio that the scheduler's client pushed while these were measured, in all runs, by their way."""
    half_load: dict[str, HalfLoad]
    bulk: Bulk | None = None


async def measure_throughput(settings: Settings, plan: ThroughputPlan, notify: Notify) -> ThroughputReport:
    """Run a trial of each contestant in each round; nothing is left running."""
    setting = this_setting()
    slots = plan.slots or max(max(plan.in_flight) // plan.nodes, _MIN_SLOTS)
    environment = EnvironmentPlan(nodes=plan.nodes, slots=slots, is_together=plan.is_together)
    trial = Trial(
        in_flight=plan.in_flight,
        length=plan.length,
        audio_s=plan.audio_s,
        warm_up_s=plan.warm_up_s,
        has_half_load=plan.with_half_load,
        bulk=plan.bulk,
    )
    contest = Contest(rivals=plan.rivals, n_rounds=plan.runs, environment=environment, trial=trial)
    results = await hold(contest, settings, notify)
    by_in_flight = results_by_in_flight(results)
    return ThroughputReport(
        setting=setting,
        audio_bytes=bytes_of(plan.audio_s),
        nodes=plan.nodes,
        slots=slots * plan.nodes,
        in_flight=plan.in_flight[0],
        notes=notes_of(results),
        results=by_in_flight[str(plan.in_flight[0])],
        by_in_flight=by_in_flight,
        best=best_of(by_in_flight),
        through=through_of(each[OwnContestant.name] for each in by_in_flight.values()),
        half_load={name: half for name, each in results.items() if (half := _half_load(each))},
        bulk=_bulk(plan.bulk, results[OwnContestant.name]) if plan.bulk else None,
    )


def best_of(by_in_flight: Mapping[str, Mapping[str, Result]]) -> dict[str, Best]:
    """By contestant the number in flight at which it does most jobs a second, and what our best is to that."""
    most = {
        name: max(by_in_flight, key=lambda in_flight: by_in_flight[in_flight][name].jobs_per_s)
        for name in next(iter(by_in_flight.values()))
    }
    jobs_per_s = {name: by_in_flight[in_flight][name].jobs_per_s for name, in_flight in most.items()}
    return {
        name: Best(
            in_flight=int(in_flight),
            jobs_per_s=jobs_per_s[name],
            own_is=round(jobs_per_s[OwnContestant.name] / jobs_per_s[name], 3),
        )
        for name, in_flight in most.items()
    }


def _half_load(results: Sequence[TrialResult]) -> HalfLoad | None:
    halves = [one.half for one in results if one.half]
    if not halves:
        return None
    result = median_of([half.run for half in halves])
    return HalfLoad(
        per_s=round(statistics.median(half.per_s for half in halves), 1),
        p99_to_p50=round(result.p99_ms / result.p50_ms, 2),
        result=result,
    )


def _bulk(n_jobs: int, results: Sequence[TrialResult]) -> Bulk:
    per_s = [one.bulk_per_s for one in results]
    return Bulk(jobs=n_jobs, audio_bytes=TINY_BYTES, jobs_per_s=statistics.median(per_s), runs=per_s)
