"""FFmpeg as the maker of good files, which the other modules then spoil."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def speechlike(seconds: float, rate_hz: int = 16_000, channels: int = 1) -> Floats:
    """Tones that change every tenth of a second, so that a missing piece is a missing tone; shape (n, channels)."""
    n = round(seconds * rate_hz)
    t = np.arange(n) / rate_hz
    frequency = 300 + 100 * (np.floor(t * 10) % 12)
    wave = 0.4 * np.sin(2 * np.pi * np.cumsum(frequency) / rate_hz)
    gains = np.linspace(1, 0.6, channels)
    return (wave[:, None] * gains[None, :]).astype(np.float32)


def encoded(
    audio: Floats,
    rate_hz: int,
    container: str,
    codec: str,
    *,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    bit_rate: int | None = None,
    is_seekable: bool = True,
) -> bytes:
    """A file of this audio, of shape (n, channels). ``is_seekable``: whether its writer can go back to the header."""
    held = io.BytesIO()
    out: Any = held if is_seekable else _Pipe(held)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[audio.shape[1]]
    with av.open(out, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout=layout, options=codec_options or {})
        assert isinstance(stream, av.AudioStream)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        encode(file, stream, audio, rate_hz, layout)
    return held.getvalue()


def encode(file: Any, stream: Any, audio: Floats, rate_hz: int, layout: str) -> None:
    """Write all of this audio to one stream of an open file."""
    context = stream.codec_context
    context.open()
    resampler = av.AudioResampler(
        format=context.format.name, layout=layout, rate=rate_hz, frame_size=context.frame_size or 1024
    )
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.reshape(1, -1)), format="flt", layout=layout)
    frame.sample_rate = rate_hz
    frame.pts = 0
    frame.time_base = Fraction(1, rate_hz)
    for ready in [*resampler.resample(frame), *resampler.resample(None)]:
        file.mux(stream.encode(ready))
    file.mux(stream.encode(None))


class _Pipe:
    """What a file looks like to a writer that cannot go back."""

    def __init__(self, held: io.BytesIO) -> None:
        self._held = held

    def write(self, data: bytes) -> int:
        return self._held.write(data)
