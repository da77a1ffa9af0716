"""Added latency: what one utterance costs on an idle cluster, beyond the work itself.

The engine is ``echo`` without a speed, so it takes no time; from ``submit`` until the result is in the caller's hands
everything that passes is ours or Ray's.
"""

from msgspec import Struct

from ray_sched.bench.arena import ArenaPlan, arena
from ray_sched.bench.contest import Contest, Length, Say
from ray_sched.bench.load import Audio
from ray_sched.bench.ours import Ours
from ray_sched.bench.report import Result, Setting, median_of, this_setting
from ray_sched.settings import Settings

_SLOTS = 4


class LatencyPlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    rivals: tuple[str, ...] = ()
    runs: int = 1
    jobs: int = 200
    """Of each run, one at a time."""
    audio_s: float = 5.0
    nodes: int = 1
    is_together: bool = False


class Percentiles(Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50: float
    p99: float


class LatencyReport(Struct, frozen=True, kw_only=True):
    """What ``bench latency --json`` prints."""

    setting: Setting
    added_ms: Percentiles
    """From submit to result, one utterance at a time, with the scheduler."""
    jobs: int
    audio_bytes: int
    """Of each utterance: 16 kHz mono 16-bit samples."""
    nodes: int
    notes: dict[str, str]
    """What each contestant is."""
    results: dict[str, Result]


async def measure_latency(settings: Settings, plan: LatencyPlan, say: Say) -> LatencyReport:
    """Submit utterances one after the other to an idle local cluster and take the time of each."""
    setting = this_setting()
    audio = Audio(plan.audio_s)
    where = ArenaPlan(nodes=plan.nodes, slots=_SLOTS, rivals=plan.rivals, is_together=plan.is_together)
    async with arena(settings, where, say) as (_, contestants):
        contest = Contest(contestants, audio, say)
        runs = await contest.closed(1, plan.runs, Length(jobs=plan.jobs))
    results = {name: median_of(each) for name, each in runs.items()}
    ours = results[Ours.name]
    return LatencyReport(
        setting=setting,
        added_ms=Percentiles(p50=ours.p50_ms, p99=ours.p99_ms),
        jobs=plan.jobs,
        audio_bytes=audio.n_bytes,
        nodes=plan.nodes,
        notes={one.name: one.note for one in contestants},
        results=results,
    )
