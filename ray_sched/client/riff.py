"""Headers of WAV files: what they claim about their lengths, compared with the bytes that are there.

libsndfile believes a header; a file that was cut off, or was written to a pipe and does not know its length, is found
here. Decodes nothing.
"""

import io
import struct
from typing import BinaryIO

from msgspec import Struct

from ray_sched.core.errors import Code, SchedError

_UNKNOWN_LENGTH = 0x7FFF_F000
"""Programs that write WAV to a pipe claim this many bytes or more: ffmpeg 0xFFFFFFFF, eSpeak NG 0x7FFFF000."""


class _Riff(Struct, kw_only=True):
    """The lengths a RIFF file claims, in bytes."""

    end: int
    """Where the RIFF chunk says the file ends."""
    byte_rate: int = 0
    data_start: int = 0
    """0 as long as there was no data chunk."""
    data_size: int = 0


def checked_riff(stream: BinaryIO, n_bytes: int, name: str, max_duration_s: float) -> BinaryIO:
    """The stream, after its claimed lengths were compared with ``n_bytes``; libsndfile would overlook all of these.

    A length that says "unknown" is mended in a copy, after the duration was checked against the bytes that are there.
    """
    riff = _scan_riff(stream, n_bytes)
    stream.seek(0)
    if riff.data_start == 0:
        raise invalid(f"{name} is a WAV header without audio; record it again")
    n_there = n_bytes - riff.data_start
    is_unknown = riff.data_size >= _UNKNOWN_LENGTH > n_there or (riff.data_size == 0 and riff.end == 8)  # noqa: PLR2004
    if n_there == 0 or (riff.data_size == 0 and not is_unknown):
        raise invalid(f"{name} is a WAV header without audio; record it again")
    if is_unknown:
        check_duration(n_there, max(1, riff.byte_rate), name, max_duration_s)
        return _mended(stream, riff, n_there)
    if riff.data_size > n_there:
        raise lying(name, riff.data_size, n_there)
    if riff.end > n_bytes + 1 or riff.end + 1 < riff.data_start + riff.data_size:
        raise lying(name, riff.end, n_bytes)
    return stream


def _scan_riff(stream: BinaryIO, n_bytes: int) -> _Riff:
    head = stream.read(12)
    order = ">" if head[:4] == b"RIFX" else "<"
    riff = _Riff(end=struct.unpack(order + "I", head[4:8].ljust(4, b"\0"))[0] + 8)
    while len(chunk := stream.read(8)) == 8:  # noqa: PLR2004  four letters and a length
        size = struct.unpack(order + "I", chunk[4:])[0]
        start = stream.tell()
        if chunk[:4] == b"data":
            riff.data_start, riff.data_size = start, riff.data_size or size
            break
        if chunk[:4] == b"fmt ":
            riff.byte_rate = struct.unpack(order + "I", stream.read(12)[8:12].ljust(4, b"\0"))[0]
        if chunk[:4] == b"ds64":
            riff_size, riff.data_size = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))
            riff.end = riff_size + 8
        if (following := start + size + size % 2) > n_bytes:
            break
        stream.seek(following)
    return riff


def _mended(stream: BinaryIO, riff: _Riff, n_there: int) -> BinaryIO:
    data = bytearray(stream.read())
    order = ">" if data[:4] == b"RIFX" else "<"
    data[4:8] = struct.pack(order + "I", len(data) - 8)
    data[riff.data_start - 4 : riff.data_start] = struct.pack(order + "I", n_there)
    return io.BytesIO(data)


def lying(name: str, n_claimed: int, n_there: int) -> SchedError:
    """The refusal of a file whose header claims more bytes than there are."""
    return invalid(
        f"{name} claims {n_claimed} bytes in its header but has {n_there}; it was cut off or damaged, copy it again"
    )


def check_duration(n_frames: int, rate_hz: int, name: str, max_duration_s: float) -> None:
    """Raises SchedError INVALID_AUDIO for audio that is longer than is taken."""
    if n_frames > max_duration_s * rate_hz:
        raise invalid(
            f"{name} is {n_frames / rate_hz:.0f} s long and at most {max_duration_s:g} s are taken; cut it into parts"
        )


def invalid(sentence: str) -> SchedError:
    """INVALID_AUDIO with this sentence, which names the audio and says what to do."""
    return SchedError(Code.INVALID_AUDIO, sentence)
