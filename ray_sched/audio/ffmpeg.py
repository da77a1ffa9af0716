"""FFmpeg, as one generator: a part of a file becomes frames of floats. FFmpeg logs nothing and opens nothing else."""

from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ray_sched.audio.plan import Part
from ray_sched.audio.refusals import check_shape, empty, invalid, undecodable
from ray_sched.audio.report import Limits

_BUFFER_BYTES = 2**16
_OPTIONS = {"protocol_whitelist": "none", "analyzeduration": "2000000", "probesize": "2000000"}
_FLOAT_CODECS = ("pcm_f16", "pcm_f24", "pcm_f32", "pcm_f64")
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
            yield from _decoded(container, name, limits, faults)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise undecodable(name) from error


def _decoded(container: Any, name: str, limits: Limits, faults: Faults) -> Iterator[Frames]:
    if not container.streams.audio:
        raise invalid(f"{name} has no sound in it; give a recording, or a video with sound")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None:  # a codec that FFmpeg does not know
        raise undecodable(name)
    if context.sample_rate == 0 or context.channels == 0:
        raise empty(name)
    check_shape(context.sample_rate, context.channels, name, limits)
    context.thread_count = 1
    is_float = context.codec.name.startswith(_FLOAT_CODECS)
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            faults.add()
            continue
        for frame in decoded:
            check_shape(frame.sample_rate, frame.layout.nb_channels, name, limits)
            yield Frames(_floats(frame), frame.sample_rate, context.codec.canonical_name, is_float)


def _floats(frame: Any) -> NDArray[np.float32]:
    values: NDArray[Any] = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    floats: NDArray[np.float32] = values.astype(np.float32, copy=False)
    match values.dtype.kind, values.dtype.itemsize:
        case "u", 1:
            return (floats - np.float32(128)) * np.float32(2**-7)
        case "i", size:
            return floats * np.float32(2.0 ** (1 - 8 * size))
        case _:
            return floats
