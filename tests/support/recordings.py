"""Recordings that are made, not stored: the shipped speech with pauses, and a detector that needs no model."""

import io
import wave
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

from ray_sched.core.split.rules import WINDOW_SAMPLES
from ray_sched.data import samples
from ray_sched.wire.samples import Samples

RATE = 16_000


def shipped() -> list[Samples]:
    """The samples of each shipped utterance."""
    audios = []
    for sample in samples():
        with wave.open(str(sample.path)) as file:
            audios.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    return audios


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def joined(pause_s: float, audios: Sequence[Samples] = ()) -> Samples:
    """These utterances, else all that are shipped, each with a pause behind it."""
    return np.concatenate([part for audio in audios or shipped() for part in (audio, silence(pause_s))])


def repeated(seconds: float, pause_s: float = 1.0) -> Iterator[Samples]:
    """Blocks of the shipped utterances, again and again for so long; made one at a time."""
    n_left = round(seconds * RATE)
    for part in cycle([part for audio in shipped() for part in (audio, silence(pause_s))]):
        if n_left <= 0:
            return
        yield part[:n_left].copy()
        n_left -= len(part)


def in_blocks(recording: Samples, n_samples: int = 80_000) -> Iterator[Samples]:
    for start in range(0, len(recording), n_samples):
        yield recording[start : start + n_samples]


def uploaded(audio: Samples | None = None, name: str = "a.wav") -> tuple[str, bytes]:
    """A WAV as HTTP clients upload it; a second of something if not told of what."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.arange(RATE, dtype="<i2") if audio is None else audio).tobytes())
    return name, held.getvalue()


class LoudIsSpeech:
    """A voice detector: whatever is not digital silence is speech."""

    def __init__(self) -> None:
        self.is_closed = False
        self.n_heard = 0

    def probabilities(self, samples: Samples) -> Sequence[float]:
        self.n_heard += len(samples)
        return [float(window.any()) for window in samples.reshape(-1, WINDOW_SAMPLES)]

    def close(self) -> None:
        self.is_closed = True
