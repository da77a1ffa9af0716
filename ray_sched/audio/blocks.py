"""An audio as blocks of 16 kHz mono samples, in bounded memory, with what is to be said of it at the end."""

import math
import tempfile
import weakref
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from ray_sched.audio.ffmpeg import Faults, Frames, frames_of
from ray_sched.audio.mono import Mono
from ray_sched.audio.plan import Part
from ray_sched.audio.planner import checked_plan
from ray_sched.audio.refusals import check_duration, empty, invalid, too_short
from ray_sched.audio.report import AudioReport, Decoded, Limits, RawFormat
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_BLOCK = 5 * SAMPLE_RATE_HZ
_HELD_BYTES = 2**20
_COPIED_BYTES = 2**18
_ROUNDING_S = 1e-6
"""Less than a sample at any rate."""


def decode(
    stream: BinaryIO, name: str, limits: Limits, *, raw: RawFormat | None = None, allow_partial: bool = False
) -> Decoded:
    """The whole audio of an open file at 16 kHz, mono, signed 16 bit.

    ``name`` is what sentences call it. ``raw``: the bytes are samples without a header. ``allow_partial``: audio that
    is cut off or damaged is taken as far as it is there, with ``whole`` false and a note, instead of being refused.
    Raises SchedError INVALID_AUDIO with one sentence that names the audio and says what to do.
    """
    blocks = Blocks(stream, name, limits, raw=raw, allow_partial=allow_partial)
    samples = list(blocks)
    return Decoded(np.concatenate(samples), blocks.report)


def duration_of(
    stream: BinaryIO, name: str, limits: Limits, *, raw: RawFormat | None = None, allow_partial: bool = False
) -> float:
    """Seconds, from the lengths in a file that can be sought in; 0.0 where they do not say it. Decodes nothing.

    Raises SchedError INVALID_AUDIO for what :func:`decode` would refuse, as far as headers tell.
    """
    plan = checked_plan(stream, name, limits, raw=raw, allow_partial=allow_partial)
    return plan.about_s if plan.duration_s is None else max(plan.about_s, plan.duration_s)


class Blocks:
    """Iterates over blocks of a few seconds, each of shape (samples,); for hours of audio with a large limit.

    Holds a few seconds of the source, never more. ``report`` is there once the last block was given. Raises
    SchedError INVALID_AUDIO, as :func:`decode` does, when made or at any block: what was given before is then not
    the whole audio.
    """

    def __init__(
        self, stream: BinaryIO, name: str, limits: Limits, *, raw: RawFormat | None = None, allow_partial: bool = False
    ) -> None:
        """Looks at the container; decodes nothing yet."""
        self._name = name
        self._limits = limits
        self._faults = Faults(name, may_skip=allow_partial)
        held = stream if stream.seekable() else self._spooled(stream, limits)
        self._plan = checked_plan(held, name, limits, raw=raw, allow_partial=allow_partial)
        self._first: Frames | None = None
        self._n_samples = 0
        self._sum_of_squares = 0.0
        self._report: AudioReport | None = None
        self._blocks = self._run()

    def __iter__(self) -> "Blocks":
        return self

    def __next__(self) -> Samples:
        return next(self._blocks)

    def _spooled(self, stream: BinaryIO, limits: Limits) -> BinaryIO:
        """All that is left in a stream that cannot be sought in, on disk when it is much."""
        held = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115  lives as long as the blocks that read it
        weakref.finalize(self, held.close)
        n_left = limits.max_source_bytes
        while part := stream.read(_COPIED_BYTES):
            n_left -= len(part)
            if n_left < 0:
                raise invalid(f"{self._name} holds more than {limits.max_source_bytes // 2**20} MiB; cut it into parts")
            held.write(part)
        held.seek(0)
        return cast("BinaryIO", held)

    @property
    def report(self) -> AudioReport:
        """What was heard. Only once the last block was given."""
        if self._report is None:
            raise RuntimeError("the report is there after the last block")
        return self._report

    def _run(self) -> Iterator[Samples]:
        held: list[Samples] = []
        n_held = 0
        for part in self._plan.parts:
            for samples in self._samples_of(part):
                self._count(samples)
                held.append(samples)
                n_held += len(samples)
                if n_held >= _BLOCK:
                    yield np.concatenate(held)
                    held, n_held = [], 0
        if self._n_samples == 0:
            raise empty(self._name) if self._first is None else too_short(self._name)
        self._report = self._reported()
        if held:
            yield np.concatenate(held)

    def _samples_of(self, part: Part) -> Iterator[Samples]:
        mono: Mono | None = None
        rate_hz, heard_s = 0, 0.0
        for frames in frames_of(part, self._name, self._limits, self._faults):
            self._first = self._first or frames
            if mono is None or frames.rate_hz != rate_hz:
                if mono is not None:
                    yield self._ended(mono)
                rate_hz = frames.rate_hz
                mono = Mono(rate_hz, self._name, is_float=frames.is_float)
            heard_s += len(frames.values) / frames.rate_hz
            yield mono.add(frames.values)
        if mono is not None:
            yield self._ended(mono)
        if part.promised_s is not None and heard_s < part.promised_s - _ROUNDING_S:
            self._plan.cut = self._plan.cut or f"holds {heard_s:.3f} s of {part.promised_s:.3f} s, it is damaged"
            self._faults.add()

    def _ended(self, mono: Mono) -> Samples:
        samples = mono.end()
        self._plan.notes.extend(note for note in mono.notes if note not in self._plan.notes)
        return samples

    def _count(self, samples: Samples) -> None:
        self._n_samples += len(samples)
        check_duration(self._n_samples, SAMPLE_RATE_HZ, self._name, self._limits.max_duration_s)
        self._sum_of_squares += float(np.square(samples, dtype=np.float64).sum())

    def _reported(self) -> AudioReport:
        first = self._first
        if first is None:
            raise empty(self._name)
        plan = self._plan
        notes = [*([f"it {plan.cut}"] if plan.cut else []), *plan.notes]
        if self._faults.n_skipped and not plan.cut:
            notes.append("it is damaged inside, and what could not be decoded was left out")
        notes.extend(self._faults.doubts)
        return AudioReport(
            container=plan.container,
            codec=first.codec,
            source_rate_hz=first.rate_hz,
            channels=first.values.shape[1],
            samples=self._n_samples,
            duration_s=self._n_samples / SAMPLE_RATE_HZ,
            level_db=level_db(self._sum_of_squares, self._n_samples),
            whole=not (plan.cut or plan.is_open or self._faults.n_skipped or self._faults.doubts),
            notes=tuple(notes),
        )


def level_db(sum_of_squares: float, n_samples: int) -> float:
    """Root mean square of 16-bit samples in dB against full scale; -inf for digital silence."""
    if sum_of_squares == 0:
        return -math.inf
    return round(10 * math.log10(sum_of_squares / n_samples / 32768**2), 2)
