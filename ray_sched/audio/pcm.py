"""Samples as they stand in a file, without coding: which of FFmpeg's plain demuxers reads them."""

from msgspec import Struct

from ray_sched.audio.plan import Part
from ray_sched.audio.refusals import check_duration, check_shape
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window


class Pcm(Struct, frozen=True, kw_only=True):
    """The shape of plain samples."""

    sample_format: str
    """As FFmpeg names the demuxer: ``s16le``, ``u8``, ``f32be``, ``mulaw``."""
    width: int
    """Bytes of a sample."""
    rate_hz: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of each channel."""
        return self.width * self.channels

    def part(self, window: Window, n_bytes: int, name: str, limits: Limits) -> Part:
        """To be decoded. Raises SchedError INVALID_AUDIO for a rate, channels or a duration beyond the limits."""
        check_shape(self.rate_hz, self.channels, name, limits)
        n_frames = n_bytes // self.frame_bytes
        check_duration(n_frames, self.rate_hz, name, limits.max_duration_s)
        options = {"sample_rate": str(self.rate_hz), "ch_layout": f"{self.channels}C"}
        return Part(stream=window, demuxer=self.sample_format, options=options, promised_s=n_frames / self.rate_hz)


def integers(width: int, order: str, *, is_signed: bool = True) -> str | None:
    """The name of whole numbers of this many bytes; ``order`` is ``le`` or ``be``. None where there is no such."""
    if width == 1:
        return "s8" if is_signed else "u8"
    return f"s{8 * width}{order}" if width in (2, 3, 4) else None


def floats(width: int, order: str) -> str | None:
    """The name of floating-point numbers of this many bytes. None where there is no such."""
    return f"f{8 * width}{order}" if width in (4, 8) else None
