"""Added latency: what one utterance costs on an idle cluster, beyond the work itself.

The engine is ``echo`` without a speed, so it takes no time; from ``submit`` until the result is in the caller's hands
all the time that passes is the scheduler's or Ray's.
"""

from msgspec import Struct

from ray_sched.bench.contest import Length, Notify
from ray_sched.bench.environment import EnvironmentPlan
from ray_sched.bench.load import bytes_of
from ray_sched.bench.own_contestant import OwnContestant
from ray_sched.bench.report import Result, Setting, this_setting, through_of
from ray_sched.bench.rounds import Contest, hold, notes_of, results_by_in_flight
from ray_sched.bench.trial import WARM_UP_S, Trial
from ray_sched.client.push import Through
from ray_sched.settings import Settings

_SLOTS = 4


class LatencyPlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    rivals: tuple[str, ...] = ()
    runs: int = 1
    jobs: int = 1_000
    """Of each run, one at a time."""
    audio_s: float = 5.0
    warm_up_s: float = WARM_UP_S
    """Of each load, in each trial."""
    nodes: int = 1
    is_together: bool = False


class Percentiles(Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50: float
    p99: float
    p999: float


class LatencyReport(Struct, frozen=True, kw_only=True):
    """What ``bench latency --json`` prints."""

    setting: Setting
    added_ms: Percentiles
    """From submit to result, one utterance at a time, with the scheduler."""
    p50_to: dict[str, float]
    """The scheduler's p50 as a multiple of each other one's; under 1: it adds less."""
    jobs: int
    audio_bytes: int
    """Of each utterance: 16 kHz mono 16-bit samples."""
    nodes: int
    notes: dict[str, str]
    """What each contestant is."""
    results: dict[str, Result]
    through: Through
    """Bytes of audio that the scheduler's client pushed while it was measured, in all runs, by their way."""


async def measure_latency(settings: Settings, plan: LatencyPlan, notify: Notify) -> LatencyReport:
    """Submit utterances one after the other to an idle local cluster and take the time of each."""
    setting = this_setting()
    environment = EnvironmentPlan(nodes=plan.nodes, slots=_SLOTS, is_together=plan.is_together)
    trial = Trial(in_flight=(1,), length=Length(jobs=plan.jobs), audio_s=plan.audio_s, warm_up_s=plan.warm_up_s)
    contest = Contest(rivals=plan.rivals, n_rounds=plan.runs, environment=environment, trial=trial)
    trials = await hold(contest, settings, notify)
    results = results_by_in_flight(trials)["1"]
    own = results[OwnContestant.name]
    return LatencyReport(
        setting=setting,
        added_ms=Percentiles(p50=own.p50_ms, p99=own.p99_ms, p999=own.p999_ms),
        p50_to={
            name: round(own.p50_ms / result.p50_ms, 3) for name, result in results.items() if name != OwnContestant.name
        },
        jobs=plan.jobs,
        audio_bytes=bytes_of(plan.audio_s),
        nodes=plan.nodes,
        notes=notes_of(trials),
        results=results,
        through=through_of([own]),
    )
