"""The neural engine with real Whisper weights, and the recordings that come with the package."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from ray_sched.agent.engine import EngineResult, Work
from ray_sched.agent.engines.neural import NeuralEngine
from ray_sched.core.capability import Capability
from ray_sched.data import samples
from ray_sched.wire.samples import Samples
from tests.support.weights import whisper_base

UNDECLARED = Capability(engine="neural")
SILENCE = np.zeros(48_000, np.int16)


def loaded(folder: Path, declared: Capability = UNDECLARED, **options: str) -> NeuralEngine:
    options = {name.replace("_", "-"): value for name, value in options.items()}
    engine = NeuralEngine(declared, {"asr-model": str(folder)} | options)
    engine.share(2)
    engine.load()
    return engine


def loaded_base(to: Path) -> NeuralEngine:
    """Whisper base, joined in this folder, for three languages."""
    return loaded(whisper_base(to), Capability(engine="neural", asr=("auto", "de", "en", "es")))


def recordings() -> Iterator[tuple[str, Samples]]:
    """Transcript and audio of the recordings that come with the package."""
    for sample in samples():
        audio, rate_hz = soundfile.read(sample.path, dtype="int16")
        assert rate_hz == 16_000
        yield sample.transcript, audio


def recognised(engine: NeuralEngine, audio: Samples, src: str = "en", **work: object) -> EngineResult:
    facts = {"job_id": "j", "attempt": 1, "src": src, "tgt": src, "services": ("asr",)} | work
    return engine.run(Work(**facts), audio, lambda _: None)  # type: ignore[arg-type]  # facts of several types
