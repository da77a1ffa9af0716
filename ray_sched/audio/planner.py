"""From an open file to the plan of its decoding: what kind it is, and what its container says against what is there."""

from typing import BinaryIO

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_shape, invalid
from ray_sched.audio.report import Limits, RawFormat
from ray_sched.audio.sniff import HEAD_BYTES, kind_of
from ray_sched.audio.window import Window, bytes_at, size_of

_DEMUXERS = {
    "riff": "wav", "w64": "w64", "flac": "flac", "ogg": "ogg", "aiff": "aiff", "caf": "caf", "au": "au",
    "mp4": "mov", "matroska": "matroska", "asf": "asf", "amr": "amr", "flv": "flv", "mpeg": "mpeg",
    "mpeg-audio": "mp3",
}  # fmt: skip
_RAW_DEMUXERS = {"s16le": "s16le", "mulaw": "mulaw", "alaw": "alaw"}
_RAW_BYTES = {"s16le": 2, "mulaw": 1, "alaw": 1}


def planned(stream: BinaryIO, name: str, limits: Limits) -> Plan:
    """How a file will be decoded. Raises SchedError INVALID_AUDIO for what is no audio, as far as its headers tell."""
    del limits
    n_bytes = size_of(stream)
    kind = kind_of(bytes_at(stream, 0, HEAD_BYTES), name)
    return Plan(container=kind, parts=[Part(stream=Window(stream, 0, n_bytes), demuxer=_DEMUXERS[kind])])


def plan_raw(stream: BinaryIO, name: str, limits: Limits, raw: RawFormat) -> Plan:
    """Samples without a header. Raises SchedError INVALID_AUDIO when they cannot be what they are said to be."""
    check_shape(raw.rate_hz, 1, name, limits)
    n_bytes = size_of(stream)
    if n_bytes == 0:
        raise invalid(f"{name} is empty; give at least one sample")
    width = _RAW_BYTES[raw.encoding]
    cut = f"has {n_bytes} bytes, an odd number, and raw samples have 16 bits each" if n_bytes % width else None
    options = {"sample_rate": str(raw.rate_hz), "ch_layout": "mono"}
    n_frames = n_bytes // width
    stream_ = Window(stream, 0, n_frames * width)
    return Plan(
        container="raw",
        parts=[Part(stream=stream_, demuxer=_RAW_DEMUXERS[raw.encoding], options=options, n_frames=n_frames)],
        cut=cut,
        duration_s=n_frames / raw.rate_hz,
    )
