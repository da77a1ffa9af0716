"""A long recording, wherever it is, as utterances: opened, decoded and cut a block at a time, in a thread of its own.

Holds one block and the utterance that is being spoken. Whatever goes wrong in the middle, the utterances before it
are given first.
"""

import io
import os
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, BinaryIO, cast

import numpy as np
from msgspec import Struct

from ray_sched.audio import AudioReport, Limits, RawFormat, decode_array
from ray_sched.audio.decoder_process import Order
from ray_sched.audio.refusals import invalid
from ray_sched.audio.report import Encoding
from ray_sched.audio.sniff import has_header
from ray_sched.client.audio import AudioSource
from ray_sched.client.long_decoder import decoded_blocks
from ray_sched.client.open_files import name_of
from ray_sched.client.reader import opened
from ray_sched.client.utterances import Cutter, Utterance
from ray_sched.client.voice import SileroDetector, VoiceDetector
from ray_sched.core.errors import printable
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.core.split.rules import SplitRules
from ray_sched.wire.samples import Samples

RecordingSource = AudioSource | Iterable[Samples]
"""What an utterance may be, or an iterable of blocks of 16 kHz int16 samples, of any length and any number."""

_BLOCK = 5 * SAMPLE_RATE_HZ
_HEAD_BYTES = 4096
_CPU_PER_BLOCK_S = 10


class HowToHear(Struct, frozen=True, kw_only=True):
    """What may be said of a recording beside where it is."""

    sample_rate_hz: int | None = None
    """Of an array, 16 000 if not given, and of samples without a header."""
    encoding: Encoding = "s16le"
    """Of samples without a header."""
    allow_partial: bool = False
    """One that is cut off or damaged is taken as far as it is there."""
    max_duration_s: float = 24 * 3600.0
    """A longer one is refused: it claims nonsense, or never ends."""
    rules: SplitRules = SplitRules()
    """Where it is cut."""
    detector: Callable[[], VoiceDetector] = SileroDetector
    on_report: "Callable[[AudioReport], None] | None" = None
    """Called after the last passage with what is to be said of the audio, if it was decoded to its end."""

    @property
    def limits(self) -> Limits:
        """Of the decoder."""
        return Limits(max_duration_s=self.max_duration_s)

    @property
    def raw(self) -> RawFormat | None:
        """What it is if it has no header."""
        return None if self.sample_rate_hz is None else RawFormat(self.sample_rate_hz, self.encoding)


class Recording:
    """Utterances of one recording. ``step`` and ``close`` block, and may be called from different threads."""

    def __init__(self, source: RecordingSource, how: HowToHear) -> None:
        self.has_ended = False
        self.failure: Exception | None = None
        """What kept it from being read to its end."""
        self.report: AudioReport | None = None
        """What was heard in a file, once it has ended."""
        self._source = source
        self._how = how
        self._blocks: Generator[Samples, None, AudioReport | None] | None = None
        self._detector: VoiceDetector | None = None
        self._lock = threading.Lock()

    def step(self) -> list[Utterance]:
        """Read one more block. The utterances that have ended in it, mostly none; ``has_ended`` after the last."""
        with self._lock:
            if self.has_ended:
                return []
            try:
                return self._step()
            except Exception as error:  # noqa: BLE001  # a user's source may raise anything; what was heard comes first
                self.failure = error
                return self._end()

    def close(self) -> None:
        """Let go of the file and the detector. Waits for a step that is under way. May be called again."""
        with self._lock:
            self.has_ended = True
            if self._blocks:
                self._blocks.close()
            if self._detector:
                self._detector.close()

    def _step(self) -> list[Utterance]:
        if self._blocks is None:
            self._detector = self._how.detector()
            self._cutter = Cutter(self._detector, self._how.rules)
            self._blocks = blocks_of(self._source, self._how)
        try:
            return self._cutter.add(next(self._blocks))
        except StopIteration as end:
            self.report = end.value
            return self._end()

    def _end(self) -> list[Utterance]:
        self.has_ended = True
        try:
            return self._cutter.end() if self._blocks else []
        except Exception as error:  # noqa: BLE001  # the detector itself has ended
            self.failure = self.failure or error
            return []


def blocks_of(source: RecordingSource, how: HowToHear) -> Generator[Samples, None, AudioReport | None]:
    """16 kHz mono samples of a recording, a few seconds at a time; the generator's value is what was heard in a file.

    Raises SchedError INVALID_AUDIO at any of them.
    """
    match source:
        case np.ndarray():
            rate_hz = how.sample_rate_hz
            yield from _pieces(
                decode_array(source, SAMPLE_RATE_HZ if rate_hz is None else rate_hz, "the array", how.limits).samples
            )
        case bytes() | bytearray() | memoryview():
            return (yield from _decoded(io.BytesIO(source), "the audio", how))
        case str() | os.PathLike():
            with opened(source) as (stream, _):
                return (yield from _decoded(stream, os.fsdecode(source), how))
        case _ if hasattr(source, "read"):
            return (yield from _decoded(cast("BinaryIO", source), name_of(source), how))
        case _ if callable(source):
            return (yield from blocks_of(cast("RecordingSource", source()), how))
        case Iterable():
            for number, block in enumerate(source):
                yield from _pieces(_checked(block, number))
        case _:
            raise invalid(f"{type(source).__name__} is no recording; give a path, an open file or blocks of samples")
    return None


def _decoded(stream: BinaryIO, name: str, how: HowToHear) -> Generator[Samples, None, AudioReport]:
    raw = how.raw
    if raw and stream.seekable():
        position = stream.tell()
        raw = None if has_header(stream.read(_HEAD_BYTES)) else raw
        stream.seek(position)
    order = Order(
        name=printable(name), limits=how.limits, cpu_s=_CPU_PER_BLOCK_S, raw=raw, allow_partial=how.allow_partial
    )
    return decoded_blocks(stream, order)


def _checked(block: Any, number: int) -> Samples:
    if not isinstance(block, np.ndarray) or block.dtype != np.int16 or block.ndim != 1:
        what = f"{block.dtype} of shape {block.shape}" if isinstance(block, np.ndarray) else type(block).__name__
        raise invalid(f"block {number} of the recording is {what}; give int16 arrays of shape (samples,) at 16 kHz")
    return block


def _pieces(samples: Samples) -> Generator[Samples, None, None]:
    for start in range(0, len(samples), _BLOCK):
        yield samples[start : start + _BLOCK]
