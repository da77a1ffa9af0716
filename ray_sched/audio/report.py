"""What is asked of the decoder, and what it says of the audio it heard."""

from typing import Literal

from msgspec import Struct

from ray_sched.wire.samples import Samples

Encoding = Literal["s16le", "mulaw", "alaw"]
"""Of samples without a header: signed 16 bit little-endian, or one byte each as telephones send them (G.711)."""

MIN_RATE_HZ = 1_000


class RawFormat(Struct, frozen=True):
    """What samples without a header are; they have one channel."""

    rate_hz: int
    encoding: Encoding = "s16le"


class Limits(Struct, frozen=True, kw_only=True):
    """The most that is taken of one audio; more is refused with a sentence."""

    max_duration_s: float = 600.0
    max_channels: int = 64
    max_rate_hz: int = 384_000
    max_values_per_s: int = 3_072_000
    """Rate times channels: 64 channels at 48 kHz, or 8 at 384 kHz. Bounds the CPU and memory of a second of audio."""
    max_source_bytes: int = 4 * 2**30
    """Bytes of a source whose length is not known beforehand, as of a pipe; the first MiB are held in memory."""


class AudioReport(Struct, frozen=True, kw_only=True):
    """What was heard in an audio."""

    container: str
    """``wav``, ``ogg``, ``mp4``, ``raw``, ``array`` and so on."""
    codec: str
    """As FFmpeg names it: ``pcm_s16le``, ``opus``, ``mp3``."""
    source_rate_hz: int
    channels: int
    samples: int
    """At 16 kHz."""
    duration_s: float
    level_db: float
    """Root mean square of the samples at 16 kHz against full scale; -inf for digital silence."""
    whole: bool
    """False when a part is known or suspected to be missing; the notes say why."""
    notes: tuple[str, ...] = ()
    """What was repaired, and what is doubtful, a sentence each."""


class Decoded(Struct, frozen=True):
    """A whole audio in memory."""

    samples: Samples
    report: AudioReport
