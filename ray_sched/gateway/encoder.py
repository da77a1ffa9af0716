"""Speech in the formats of OpenAI's speech API, written as it comes: 24 kHz, mono. Blocks; knows no event loop."""

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import av
import av.filter
import numpy as np
import soxr  # type: ignore[import-untyped]
from numpy.typing import NDArray

RATE_HZ = 24_000
_UNKNOWN_BYTES = 2**32 - 1
"""The length of a WAV that is still being made."""
_FULL_SCALE = 2**15


class Format(NamedTuple):
    """How a format is made, and what HTTP calls it."""

    media_type: str
    container: str = ""
    """Empty: it needs no encoder."""
    codec: str = ""
    sample_format: str = "s16"
    options: dict[str, str] = {}  # noqa: RUF012  # nobody changes it


FORMATS: dict[str, Format] = {
    "mp3": Format("audio/mpeg", "mp3", "libmp3lame", "s16p", {"write_xing": "0", "id3v2_version": "0"}),
    "opus": Format("audio/ogg", "ogg", "libopus"),
    "aac": Format("audio/aac", "adts", "aac", "fltp"),
    "flac": Format("audio/flac", "flac", "flac"),
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm"),
}


MEDIA_TYPES = tuple(kind.media_type for kind in FORMATS.values())


class Encoder:
    """One speech. ``add`` what there is, then ``end``; each gives the bytes that are ready."""

    def __init__(self, name: str, speed: float = 1.0) -> None:
        """``name``: one of FORMATS. ``speed``: 2 is twice as fast, at the same pitch."""
        self._format = FORMATS[name]
        self._is_wav = name == "wav"
        self._speed = speed
        self._resampler: soxr.ResampleStream | None = None
        self._rate_hz = 0
        self._tempo: _Tempo | None = None
        self._sink = _Sink()
        self._writer = _Writer(self._format, self._sink) if self._format.container else None
        self._has_begun = False

    def add(self, samples: bytes, rate_hz: int) -> bytes:
        """The next signed 16-bit mono samples, at whatever rate they have."""
        given = np.frombuffer(samples, "<i2")
        if rate_hz != self._rate_hz:
            self._write(self._resampled(given[:0], is_last=True))
            self._rate_hz = rate_hz
            self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")
        self._write(self._resampled(given, is_last=False))
        return self._sink.taken()

    def end(self) -> bytes:
        """Nothing more comes."""
        self._write(self._resampled(np.zeros(0, np.int16), is_last=True))
        if self._tempo:
            self._write_plain(self._tempo.end())
        if self._writer:
            self._writer.end()
        return self._sink.taken()

    def _resampled(self, given: NDArray[np.int16], *, is_last: bool) -> NDArray[np.int16]:
        if self._resampler is None:
            return given
        return np.asarray(self._resampler.resample_chunk(given, last=is_last), np.int16)

    def _write(self, samples: NDArray[np.int16]) -> None:
        if self._speed != 1:
            self._tempo = self._tempo or _Tempo(self._speed)
            samples = self._tempo.add(samples)
        self._write_plain(samples)

    def _write_plain(self, samples: NDArray[np.int16]) -> None:
        if self._writer:
            self._writer.add(samples)
            return
        if self._is_wav and not self._has_begun:
            self._has_begun = True
            self._sink.write(_wav_head())
        self._sink.write(samples.astype("<i2").tobytes())


class _Sink:
    """Where FFmpeg writes. It cannot go back, as in a stream nothing can."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Writer:
    """A container with one coded stream."""

    def __init__(self, kind: Format, sink: _Sink) -> None:
        self._container = av.open(sink, "w", format=kind.container, options=kind.options)
        # Any: PyAV says of a codec's name what kind of stream it is only for those that it lists
        stream: Any = self._container.add_stream(kind.codec, rate=RATE_HZ, layout="mono")
        self._stream = stream
        stream.codec_context.format = kind.sample_format
        stream.codec_context.open()
        self._sample_format = kind.sample_format
        self._left = np.zeros(0, np.int16)
        self._n_written = 0

    def add(self, samples: NDArray[np.int16]) -> None:
        """Code as many whole frames as there are."""
        self._left = np.concatenate([self._left, samples])
        size = self._stream.codec_context.frame_size or max(len(self._left), 1)
        while len(self._left) >= size:
            self._encode(self._left[:size])
            self._left = self._left[size:]

    def end(self) -> None:
        """Code what is left, and end the file."""
        if len(self._left):
            self._encode(self._left)
        self._mux(self._stream.encode(None))
        self._container.close()

    def _encode(self, samples: NDArray[np.int16]) -> None:
        is_float = self._sample_format == "fltp"
        plane = samples.astype(np.float32) / _FULL_SCALE if is_float else np.ascontiguousarray(samples)
        frame = _frame(plane, self._sample_format, RATE_HZ, self._n_written)
        self._n_written += len(samples)
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


class _Tempo:
    """Faster or slower, at the same pitch (FFmpeg's atempo, which goes down to a half at a time)."""

    def __init__(self, speed: float) -> None:
        steps = [speed] if speed >= 0.5 else [0.5, speed / 0.5]  # noqa: PLR2004  # see above
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(format="s16", sample_rate=RATE_HZ, layout="mono")
        chain = [source, *(self._graph.add("atempo", f"{step:g}") for step in steps)]
        chain += [self._graph.add("aformat", "sample_fmts=s16"), self._graph.add("abuffersink")]
        self._graph.link_nodes(*chain).configure()
        self._n_given = 0

    def add(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        if len(samples):
            self._graph.push(_frame(np.ascontiguousarray(samples), "s16", RATE_HZ, self._n_given))
            self._n_given += len(samples)
        return self._pulled()

    def end(self) -> NDArray[np.int16]:
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> NDArray[np.int16]:
        parts = [np.zeros(0, np.int16)]
        while True:
            try:
                frame: Any = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return np.concatenate(parts)
            parts.append(frame.to_ndarray().reshape(-1))


def _frame(plane: NDArray[Any], sample_format: str, rate_hz: int, at: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(plane.reshape(1, -1), format=sample_format, layout="mono")
    frame.sample_rate = rate_hz
    frame.pts = at
    return frame


def _wav_head() -> bytes:
    """Of 16-bit mono, however long it will be."""
    width = 2
    coding = struct.pack("<HHIIHH", 1, 1, RATE_HZ, RATE_HZ * width, width, 8 * width)
    return (
        b"RIFF" + struct.pack("<I", _UNKNOWN_BYTES) + b"WAVEfmt " + struct.pack("<I", len(coding)) + coding
        + b"data" + struct.pack("<I", _UNKNOWN_BYTES)
    )  # fmt: skip
