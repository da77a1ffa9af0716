"""One contestant's trial with a real model: the shipped recordings, as many in flight as it can use."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import psutil
from msgspec import Struct

from ray_sched.bench.contest import Contestant, Notify
from ray_sched.bench.load import Supply
from ray_sched.bench.processes import cpu_s, family, spent_s
from ray_sched.bench.report import percentile
from ray_sched.bench.speech import Speech
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ

_MB = 2**20


class EngineTrial(Struct, frozen=True, kw_only=True, tag=True):
    """What is measured, the same for everybody."""

    in_flight: int
    seconds: float
    warm_up_s: float
    library: str
    """A process that has loaded a file of this name holds the model."""


class EngineFigures(Struct, frozen=True, kw_only=True):
    """What is measured of a contestant."""

    audio_s_per_s: float
    """Seconds of audio recognised in a second."""
    audio_s_per_cpu_s: float
    """The same in a second of CPU of the processes that hold the model: other programs change it less."""
    beside_cores: float
    """CPU of all other processes, the submitter's among them, in cores: of Ray and the scheduler, or of a rival."""
    p50_ms: float
    """From submit until the result is in the caller's hands, with as many waiting as are served."""
    p99_ms: float
    model_mb: float
    """Memory of all processes that hold the model; what they share is counted once."""
    word_errors_percent: float


class EngineRun(EngineFigures, frozen=True, kw_only=True, tag=True):
    """One repetition."""

    note: str
    """What the contestant is."""
    jobs: int


async def run_engine_trial(one: Contestant, trial: EngineTrial, notify: Notify) -> EngineRun:
    """Warm up and measure a contestant that has started."""
    speech = Speech()
    drive = partial(one.closed, in_flight=trial.in_flight)
    await drive(Supply(Speech(), jobs=0, seconds=trial.warm_up_s))
    processes = family()
    models = holders(processes, trial.library)
    before, of_models_before = cpu_s(processes), cpu_s(models)
    supply = Supply(speech, jobs=0, seconds=trial.seconds)
    await drive(supply)
    of_models_s = spent_s(of_models_before, cpu_s(models))
    beside_s = spent_s(before, cpu_s(processes)) - of_models_s
    took_ms, audio_s = sorted(supply.took_ms), supply.n_samples / SAMPLE_RATE_HZ
    run = EngineRun(
        note=one.note,
        jobs=len(took_ms),
        audio_s_per_s=round(audio_s / supply.took_s, 2),
        audio_s_per_cpu_s=round(audio_s / of_models_s, 2),
        beside_cores=round(beside_s / supply.took_s, 3),
        p50_ms=round(percentile(took_ms, 50), 1),
        p99_ms=round(percentile(took_ms, 99), 1),
        model_mb=round(sum(map(_shared_out_bytes, models)) / _MB, 1),
        word_errors_percent=speech.errors_percent,
    )
    notify(f"{one.name}, {trial.in_flight} in flight: {run.audio_s_per_s:.1f} s of audio a second")
    return run


def holders(processes: Sequence[psutil.Process], library: str) -> list[psutil.Process]:
    """Those that have loaded a file with this in its path."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            if any(library in mapped.path for mapped in process.memory_maps()):
                found.append(process)
    return found


def _shared_out_bytes(process: psutil.Process) -> int:
    """Its own memory and its share of what several have; 0 of one that has ended."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
