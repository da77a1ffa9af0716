"""The echo engine: runs for a configured time and returns what it was given. For tests and benchmarks.

It never looks into the audio. Which attempts fail or are refused follows from their names alone, so that a run can
be replayed.
"""

import time
from collections.abc import Callable
from hashlib import blake2b
from math import isfinite
from typing import ClassVar

import numpy as np

from ray_sched.agent.engine import EngineResult, Isolation, Work
from ray_sched.core.capability import ASR, MT, TTS, Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_SAMPLES_PER_LETTER = SAMPLE_RATE_HZ // 16
_HUM = np.tile(np.linspace(-4_000, 4_000, 100), 10).astype(np.int16)
"""A text is spoken as a tone of 160 Hz, as long as it would take to say it."""


class EchoFailedError(RuntimeError):
    """The failure that ``failure-percent`` asked for."""


class EchoEngine:
    """Options, all strings: ``speed``, ``failure-percent``, ``refusal-percent``, ``speech-bytes``.

    ``speed`` is in audio-seconds per second, 0 answers at once. The percents say how many attempts fail and how many
    are refused. ``speech-bytes`` is the length of the speech; without it the speech is as long as the audio.
    """

    isolation: ClassVar[Isolation] = "thread"

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        """Check the options; :class:`SchedError` (INVALID_CONFIGURATION) names the one that is wrong."""
        self._declared = declared
        self._speed = _number(options, "speed")
        self._failure_percent = _number(options, "failure-percent", at_most=100)
        self._refusal_percent = _number(options, "refusal-percent", at_most=100)
        self._speech_bytes = _speech_bytes(options)

    def capability(self) -> Capability:
        """What was declared: echo speaks every language."""
        return self._declared

    def load(self) -> None:
        """Nothing to load."""

    def admit(self, work: Work) -> str | None:
        """Refuse the given percentage of attempts, always the same ones."""
        if _lot(work, "refusal") < self._refusal_percent:
            return f"echo refuses {self._refusal_percent:g} % of the attempts, as refusal-percent says"
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Sleep for ``audio`` (16 kHz samples) divided by the speed, then echo. Half-way there is one partial."""
        text = f"echo of {len(audio)} samples" if ASR in work.services else work.hints.text
        if self._speed > 0:
            half_s = len(audio) / SAMPLE_RATE_HZ / self._speed / 2
            time.sleep(half_s)
            emit_partial(text)
            time.sleep(half_s)
        if _lot(work, "failure") < self._failure_percent:
            raise EchoFailedError(f"echo fails {self._failure_percent:g} % of the attempts, as failure-percent says")
        spoken = audio if ASR in work.services else np.resize(_HUM, len(text) * _SAMPLES_PER_LETTER)
        speech = self._speech(spoken) if TTS in work.services else b""
        return EngineResult(
            text=text,
            translation=text if MT in work.services else "",
            speech=speech,
            speech_rate_hz=SAMPLE_RATE_HZ if speech else 0,
        )

    def _speech(self, audio: Samples) -> bytes:
        if self._speech_bytes is None:
            return audio.astype("<i2").tobytes()
        return np.resize(audio.astype("<i2"), self._speech_bytes // BYTES_PER_SAMPLE).tobytes()


def _lot(work: Work, what: str) -> float:
    """A number in [0, 100) that depends on the attempt and on nothing else."""
    digest = blake2b(f"{what}/{work.job_id}/{work.attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32 * 100


def _number(options: dict[str, str], name: str, at_most: float = 1e9) -> float:
    text = options.get(name, "0")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and 0 <= value <= at_most):
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            f"option {name} of the echo engine is {text!r}; it must be a number from 0 to {at_most:g}",
        )
    return value


def _speech_bytes(options: dict[str, str]) -> int | None:
    text = options.get("speech-bytes")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) % BYTES_PER_SAMPLE:
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            f"option speech-bytes of the echo engine is {text!r}; it must be an even number of bytes, such as 32000",
        )
    return int(text)
