"""FFmpeg as the maker of good files, which the other modules then spoil."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.audio.odd_audio.tones import Floats


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
    if "faststart" in (options or {}).get("movflags", ""):  # FFmpeg reads again what it wrote, under its name
        out = Path(tempfile.mkdtemp()) / "audio.mp4"
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[audio.shape[1]]
    with av.open(out, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout=layout, options=codec_options or {})
        assert isinstance(stream, av.AudioStream)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        stream.codec_context.open()
        _encode(file, stream, audio, rate_hz, layout)
    return out.read_bytes() if isinstance(out, Path) else held.getvalue()


def video(audio: Floats | None, rate_hz: int) -> bytes:
    """A second and a half of black pictures, with this mono audio or without sound."""
    held = io.BytesIO()
    with av.open(held, "w", format="mp4") as file:
        pictures = file.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        sound = None if audio is None else file.add_stream("aac", rate=rate_hz, layout="mono")
        for _ in range(15):
            black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            file.mux(pictures.encode(black))
        file.mux(pictures.encode(None))
        if sound is not None and audio is not None:
            _encode(file, sound, audio, rate_hz, "mono")
    return held.getvalue()


def _encode(file: Any, stream: Any, audio: Floats, rate_hz: int, layout: str) -> None:
    context = stream.codec_context
    resampler = av.AudioResampler(
        format=context.format.name, layout=layout, rate=rate_hz, frame_size=context.frame_size or 1024
    )
    for start in range(0, len(audio), rate_hz):
        second = np.ascontiguousarray(audio[start : start + rate_hz]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(second, format="flt", layout=layout)
        frame.sample_rate = rate_hz
        frame.pts = start
        frame.time_base = Fraction(1, rate_hz)
        for ready in resampler.resample(frame):
            file.mux(stream.encode(ready))
    for ready in resampler.resample(None):
        file.mux(stream.encode(ready))
    file.mux(stream.encode(None))


class _Pipe:
    """What a file looks like to a writer that cannot go back."""

    def __init__(self, held: io.BytesIO) -> None:
        self._held = held

    def write(self, data: bytes) -> int:
        return self._held.write(data)
