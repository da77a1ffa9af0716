"""Frames of any rate and number of channels become 16 kHz mono samples, a block at a time.

Channels are averaged. Where they cancel each other (the mean is more than 40 dB below them, as of a stereo recording
with one cable the wrong way round) the louder one is taken. Floats beyond full scale are clipped while they are few
and near, as lossy codecs make them, and refused when they are many or far, as of 16-bit values in a float file.
"""

import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ray_sched.audio.refusals import invalid
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

FULL_SCALE = np.float32(32768)

_LOUDEST = 4.0
_MOST_CLIPPED = 0.01
_CANCELLED = 1e-4
"""40 dB in power."""


class Mono:
    """One stream of frames on its way to 16 kHz mono."""

    def __init__(self, rate_hz: int, name: str, *, is_float: bool = False) -> None:
        """``is_float``: the source's samples are floats as they are, of which the rule in the module's text speaks."""
        self._name = name
        self._is_float = is_float
        self._resampler = (
            soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32") if rate_hz != SAMPLE_RATE_HZ else None
        )
        self._n_frames = 0
        self._n_beyond = 0
        self._only: int | None = None
        self.notes: list[str] = []

    def add(self, frames: NDArray[np.float32]) -> Samples:
        """The next frames, of shape (n, channels), full scale at 1. Returns the samples that are ready.

        Raises SchedError INVALID_AUDIO for samples that are no numbers or far beyond full scale.
        """
        if frames.size == 0:
            return np.zeros(0, np.int16)
        self._check(frames)
        mono = self._mixed(frames) * FULL_SCALE
        return _rounded(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def end(self) -> Samples:
        """The samples that were still held back. Raises SchedError INVALID_AUDIO when too many had to be clipped."""
        if self._n_beyond > self._n_frames * _MOST_CLIPPED:
            percent = 100 * self._n_beyond / self._n_frames
            raise invalid(
                f"{self._name} has {percent:.0f} % of its samples beyond -1 to 1, between which float samples are;"
                " divide them first"
            )
        if self._resampler is None:
            return np.zeros(0, np.int16)
        return _rounded(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))

    def _check(self, frames: NDArray[np.float32]) -> None:
        peak = float(np.abs(frames).max())
        if not np.isfinite(peak):
            raise invalid(f"{self._name} holds NaN or infinite samples; repair whatever made it")
        if not self._is_float:
            return
        if peak > _LOUDEST:
            raise invalid(f"{self._name} has a peak of {peak:g}; float samples go from -1 to 1, divide them first")
        self._n_frames += frames.size
        if peak > 1:
            self._n_beyond += int((np.abs(frames) > 1).sum())

    def _mixed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        if frames.shape[1] == 1:
            return frames[:, 0]
        mean: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
        powers = np.einsum("ij,ij->j", frames, frames)
        if np.dot(mean, mean) >= _CANCELLED * powers.mean():
            return mean
        if self._only is None:
            self._only = int(powers.argmax())
            self.notes.append(f"its channels cancel each other; channel {self._only + 1} was taken alone")
        return frames[:, self._only]


def _rounded(mono: NDArray[np.float32]) -> Samples:
    return np.clip(np.rint(mono), -32768, 32767).astype(np.int16)
