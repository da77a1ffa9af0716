"""FFmpeg, as one generator: a part of a file becomes frames of floats. FFmpeg logs nothing and opens nothing else."""

from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ray_sched.audio.flac import is_one_frame
from ray_sched.audio.plan import Part
from ray_sched.audio.refusals import check_shape, invalid, undecodable
from ray_sched.audio.report import Limits

_BUFFER_BYTES = 2**16
_OPTIONS = {"protocol_whitelist": "none", "analyzeduration": "2000000", "probesize": "2000000"}
_CODEC_OPTIONS = {"flac": {"err_detect": "crccheck+explode"}}
"""Check sums are looked at where every file has right ones."""
_OTHER_DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
"""FFmpeg's own for AMR do not know the frames of silence that phones send."""
_FLOAT_CODECS = ("pcm_f16", "pcm_f24", "pcm_f32", "pcm_f64")
_NUMBERED = "flac"
"""Container whose frames are numbered: FFmpeg leaves a damaged one out without a word, and its number shows it."""
_BATCH_S = 0.25
_BLOCK_HEAD_BYTES = 16
_TELLING = ("mp4", "avi")
"""Containers whose headers say how long a track is."""
_SPARE_S = 0.5
_TIMED = ("mp4", "matroska")
"""Containers that say of each frame when it is heard."""
_GAP_S = 0.2
_MAX_DOUBTS = 10
_MAX_FAULTS = 1_000
"""Damaged packets in one audio after which no more are tried."""


class Frames(Struct, frozen=True):
    """Some decoded frames."""

    values: NDArray[np.float32]
    """Of shape (n, channels), full scale at 1."""
    rate_hz: int
    codec: str
    is_float: bool
    """Whether the source's samples are floats as they are, not the output of a lossy decoder."""


class Faults:
    """What the decoder stumbled over in one audio."""

    def __init__(self, name: str, *, may_skip: bool) -> None:
        """``may_skip``: what is damaged is left out; otherwise the first damage is the end."""
        self._name = name
        self._may_skip = may_skip
        self.n_skipped = 0
        self.doubts: list[str] = []
        """Why it may not be whole, though nothing is known to be missing."""

    def add(self) -> None:
        """Raises SchedError INVALID_AUDIO unless damaged parts may be left out."""
        self.n_skipped += 1
        if not self._may_skip or self.n_skipped > _MAX_FAULTS:
            raise invalid(
                f"{self._name} is damaged inside; copy it again, or take what can be decoded with allow_partial"
            )


def frames_of(part: Part, name: str, limits: Limits, faults: Faults) -> Iterator[Frames]:
    """The first audio stream of a part, decoded bit by bit. Raises SchedError INVALID_AUDIO."""
    try:
        with av.open(
            part.stream,
            "r",
            format=part.demuxer,
            container_options=_OPTIONS | part.options,
            metadata_errors="ignore",
            buffer_size=_BUFFER_BYTES,
        ) as container:
            yield from _decoded(container, part, name, limits, faults)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise undecodable(name) from error


def _decoded(container: Any, part: Part, name: str, limits: Limits, faults: Faults) -> Iterator[Frames]:
    if not container.streams.audio:
        raise invalid(f"{name} has no sound in it; give a recording, or a video with sound")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise invalid(f"{name} is coded in a way that no decoder here knows; convert it to WAV")
    if context.sample_rate == 0 or context.channels == 0:
        raise undecodable(name)
    check_shape(context.sample_rate, context.channels, name, limits)
    context.thread_count = 1
    context.options = _CODEC_OPTIONS.get(context.codec.name, {})
    batch = _Batch(context.codec)
    packets = _watched(container.demux(stream), part, faults)
    heard_s = 0.0
    frames = _frames(packets, _decoder(context), faults, are_numbered=part.demuxer == _NUMBERED)
    for frame in _timed(frames, faults) if part.demuxer in _TIMED else frames:
        check_shape(frame.sample_rate, frame.layout.nb_channels, name, limits)
        heard_s += frame.samples / frame.sample_rate
        if not batch.fits(frame):
            yield batch.taken()
        if batch.add(frame) >= frame.sample_rate * _BATCH_S:
            yield batch.taken()
    if batch.n_frames:
        yield batch.taken()
    claimed_s = float((stream.duration or 0) * stream.time_base) if part.demuxer in _TELLING else 0.0
    if heard_s < claimed_s - _SPARE_S:
        faults.doubts.append(f"its header tells of {claimed_s:.1f} s, and {heard_s:.1f} s were there")


def _watched(packets: Iterator[Any], part: Part, faults: Faults) -> Iterator[Any]:
    """The packets, of which the last must be the last that the track has: FFmpeg ends at a damaged block."""
    first = last = -1
    for packet in packets:
        if packet.size and packet.pos is not None:
            first, last = (packet.pos if first < 0 else first), packet.pos
        yield packet
    for begin, end in part.tracks:
        if begin <= first <= begin + _BLOCK_HEAD_BYTES and last < end:
            faults.add()


def _decoder(context: Any) -> Any:
    other = _OTHER_DECODERS.get(context.codec.name)
    if other is None:
        return context
    decoder: Any = av.CodecContext.create(other, "r")
    decoder.layout, decoder.sample_rate = context.layout.name, context.sample_rate
    return decoder


def _frames(packets: Iterator[Any], decoder: Any, faults: Faults, *, are_numbered: bool) -> Iterator[Any]:
    """What FFmpeg makes of its packets; ``are_numbered``: each frame says how many samples were before it."""
    n_before, last = 0, b""
    while True:
        try:
            packet = next(packets, None)
            decoded = [] if packet is None else decoder.decode(packet if packet.size else None)
        except av.error.EOFError:
            break
        except av.error.FFmpegError:
            faults.add()
            continue
        if packet is None:
            break
        if are_numbered and packet.size:
            last = bytes(packet)
        for frame in decoded:
            if are_numbered and frame.pts is not None:
                number = int(frame.pts * frame.time_base * frame.sample_rate)
                if number > n_before:
                    faults.add()
                n_before = number + frame.samples
            yield frame
    if last and not is_one_frame(last):
        faults.add()


def _timed(frames: Iterator[Any], faults: Faults) -> Iterator[Any]:
    """The frames; where the time of one is long after the end of the one before it, a piece was left out."""
    end_s: float | None = None
    for frame in frames:
        if frame.pts is not None:
            at_s = float(frame.pts * frame.time_base)
            if end_s is not None and at_s - end_s > _GAP_S and len(faults.doubts) < _MAX_DOUBTS:
                faults.doubts.append(f"there is nothing in it from {end_s:.1f} to {at_s:.1f} s")
            end_s = at_s + frame.samples / frame.sample_rate
        yield frame


class _Batch:
    """Frames of one format: a decoder gives a hundredth of a second at a time, too little to be worth a call each."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec.canonical_name
        self._is_float = codec.name.startswith(_FLOAT_CODECS)
        self._format: tuple[int, int, str] | None = None
        self._is_planar = False
        self._held: list[NDArray[Any]] = []
        self.n_frames = 0

    def fits(self, frame: Any) -> bool:
        """Whether a frame is like those that are held."""
        return not self._held or self._format == _format_of(frame)

    def add(self, frame: Any) -> int:
        """Hold one more. Returns how many samples of each channel are held."""
        self._format, self._is_planar = _format_of(frame), frame.format.is_planar
        self._held.append(frame.to_ndarray())
        self.n_frames += frame.samples
        return self.n_frames

    def taken(self) -> Frames:
        """What is held; nothing is afterwards."""
        rate_hz, channels, _ = self._format or (0, 0, "")
        values = self._held[0] if len(self._held) == 1 else np.concatenate(self._held, axis=1)
        self._held, self.n_frames = [], 0
        values = values.T if self._is_planar else values.reshape(-1, channels)
        return Frames(_floats(values), rate_hz, self._codec, self._is_float)


def _format_of(frame: Any) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    floats: NDArray[np.float32] = values.astype(np.float32, copy=False)
    match values.dtype.kind, values.dtype.itemsize:
        case "u", 1:
            return (floats - np.float32(128)) * np.float32(2**-7)
        case "i", size:
            return floats * np.float32(2.0 ** (1 - 8 * size))
        case _:
            return floats
