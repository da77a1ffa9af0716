"""FLAC: its header knows the number of frames, unless it was written to a pipe."""

from typing import BinaryIO

from ray_sched.audio.joined import next_file
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_duration, check_shape, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_START = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_TAG_BYTES = 128


def _crc_16(byte: int) -> int:
    """The remainder of a byte by the polynomial of FLAC, x^16 + x^15 + x^2 + 1."""
    crc = byte << 8
    for _ in range(8):
        crc = crc << 1 ^ (0x8005 if crc & 0x8000 else 0)
    return crc & 0xFFFF


_CRC_16 = tuple(map(_crc_16, range(256)))


def plan_flac(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a FLAC file, up to the next file that was joined to it. Raises SchedError INVALID_AUDIO."""
    info = bytes_at(stream, start + 8, 34)
    if not bytes_at(stream, start, 8).startswith(_START) or len(info) < 34:  # noqa: PLR2004  STREAMINFO's length
        raise invalid(f"{name} is a FLAC file whose header is damaged; copy it again")
    plan = Plan(container="flac", parts=[])
    packed = int.from_bytes(info[10:18], "big")
    rate_hz, channels, n_frames = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    check_shape(rate_hz, channels, name, limits)
    if n_frames == 0:
        plan.is_open = True
        plan.notes.append("its header does not say how long it is; it was read to its end, and may not be whole")
    check_duration(n_frames, rate_hz, name, limits.max_duration_s)
    end = next_file(stream, start + 42, n_bytes)
    plan.end = end if end < n_bytes else None
    if end == n_bytes and bytes_at(stream, end - _TAG_BYTES, 3) == b"TAG":
        end -= _TAG_BYTES
    promised_s = n_frames / rate_hz if n_frames else None
    plan.add(Part(stream=Window(stream, start, end - start), demuxer="flac", promised_s=promised_s))
    return plan


def is_one_frame(packet: bytes) -> bool:
    """Whether these bytes are one frame and nothing else: its check sum, over all of it, is then 0."""
    crc = 0
    for byte in packet:
        crc = crc << 8 & 0xFFFF ^ _CRC_16[crc >> 8 ^ byte]
    return crc == 0
