"""WAV: RIFF, RIFX, RF64 and BW64. What the lengths in the headers claim, against the bytes that are there.

Recorders that are killed, programs that write to a pipe and services that join files leave lengths that are wrong.
They are not believed: what is there is read, unless the header is sound and says that the file was longer.
"""

import re
import struct
from typing import BinaryIO

from msgspec import Struct

from ray_sched.audio.joined import begins_file, next_file
from ray_sched.audio.pcm import Pcm, floats, integers
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_shape, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

UNKNOWN_LENGTH = 0x7FFF_F000
"""Programs that write WAV to a pipe claim this many bytes or more: ffmpeg 0xFFFFFFFF, eSpeak NG 0x7FFFF000."""

_MAX_CHUNKS = 10_000
_SEARCHED_BYTES = 2**20
_IN_DS64 = 0xFFFF_FFFF
_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_CHUNK_ID = re.compile(rb"[A-Za-z0-9_ .+-]{4}")
_KNOWN_IDS = (
    b"fmt ", b"data", b"LIST", b"fact", b"bext", b"cue ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"id3 ", b"ID3 ",
    b"iXML", b"_PMX", b"smpl", b"inst", b"plst", b"afsp", b"PEAK", b"umid", b"acid", b"cart", b"DISP", b"ds64",
)  # fmt: skip
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


class Wave(Struct, kw_only=True):
    """What one WAV header says; positions are in the stream."""

    magic: bytes
    start: int
    end: int
    """Where the file ends, by its own account."""
    fmt: bytes = b""
    data_start: int = 0
    """0 while there was no data chunk."""
    data_size: int = 0
    long_data_size: int = 0
    """From ds64, for files that are longer than 32 bits can say."""
    notes: list[str] = []

    @property
    def order(self) -> str:
        """Byte order."""
        return ">" if self.magic == b"RIFX" else "<"


class _Extent(Struct, frozen=True):
    """How far the audio goes."""

    size: int
    following: int
    """Where a joined file begins; the end of the stream if none does."""
    note: str = ""
    cut: str | None = None
    is_open: bool = False


def plan_riff(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a WAV, up to the next file that was joined to it. Raises SchedError INVALID_AUDIO."""
    wave = _scanned(stream, start, n_bytes, name)
    if wave.data_start == 0 or wave.data_start >= n_bytes:
        raise invalid(f"{name} is a WAV header without audio; record it again")
    extent = _extent(stream, wave, n_bytes, name)
    plan = Plan(
        container="rf64" if wave.magic in (b"RF64", b"BW64") else "wav",
        parts=[],
        notes=[*wave.notes, *([extent.note] if extent.note else [])],
        end=extent.following if extent.following < n_bytes else None,
        cut=extent.cut,
        is_open=extent.is_open,
    )
    plan.add(_part(stream, wave, extent.size, name, limits))
    return plan


def _scanned(stream: BinaryIO, start: int, n_bytes: int, name: str) -> Wave:
    head = bytes_at(stream, start, 12)
    wave = Wave(magic=head[:4], start=start, end=0)
    wave.end = start + 8 + _uint(head[4:8], wave.order)
    at = start + 12
    for _ in range(_MAX_CHUNKS):
        chunk = bytes_at(stream, at, 8)
        if len(chunk) < 8:  # noqa: PLR2004  four letters and a length
            break
        size = _uint(chunk[4:], wave.order)
        if chunk[:4] == b"data":
            wave.data_start, wave.data_size = at + 8, _data_size(size, wave)
            return wave
        _note_chunk(stream, chunk[:4], at + 8, size, wave)
        at = _next_chunk(stream, at + 8, size, wave)
    else:
        raise invalid(f"{name} has more than {_MAX_CHUNKS} chunks before its audio; convert it to WAV again")
    if wave.fmt:
        _search_data(stream, start, n_bytes, wave)
    return wave


def _note_chunk(stream: BinaryIO, chunk_id: bytes, at: int, size: int, wave: Wave) -> None:
    if chunk_id == b"fmt " and not wave.fmt:
        wave.fmt = bytes_at(stream, at, min(size, 4096))
    if chunk_id == b"ds64":
        riff_size, wave.long_data_size = struct.unpack("<QQ", bytes_at(stream, at, 16).ljust(16, b"\0"))
        if 0 < riff_size < 2**63:
            wave.end = wave.start + 8 + riff_size


def _data_size(size: int, wave: Wave) -> int:
    return wave.long_data_size if size == _IN_DS64 and wave.magic in (b"RF64", b"BW64") else size


def _next_chunk(stream: BinaryIO, start: int, size: int, wave: Wave) -> int:
    """Where the next chunk begins: an odd one is padded, but some programs forget it."""
    following = start + size + size % 2
    if size % 2:
        ids = bytes_at(stream, following - 1, 5)
        if ids[:4] in _KNOWN_IDS and ids[1:] not in _KNOWN_IDS:
            wave.notes.append("a chunk of odd length lacks its padding; it was read without")
            return following - 1
    return following


def _search_data(stream: BinaryIO, start: int, n_bytes: int, wave: Wave) -> None:
    """The chunks lead nowhere, so one of their lengths is wrong: look for the letters."""
    head = bytes_at(stream, start, min(_SEARCHED_BYTES, n_bytes - start))
    at = head.find(b"data", head.find(b"fmt ") + 8 + len(wave.fmt))
    if at >= 0 and len(head) >= at + 8:
        wave.data_start = start + at + 8
        wave.data_size = _data_size(_uint(head[at + 4 : at + 8], wave.order), wave)
        wave.notes.append("the length of a chunk before the audio is wrong; the audio was found without it")


def _extent(stream: BinaryIO, wave: Wave, n_bytes: int, name: str) -> _Extent:
    size, n_there = wave.data_size, n_bytes - wave.data_start
    if size == 0 or (size >= UNKNOWN_LENGTH and size > n_there):
        if size == 0 and _chunks_follow(stream, wave.data_start, n_bytes, wave):
            raise invalid(f"{name} is a WAV header without audio; record it again")
        note = "its header does not say how long it is; it was read to its end"
        return _to_the_end(stream, wave, n_bytes, note, is_open=size == 0)
    if size > n_there:
        if _is_file_size(wave, n_bytes):
            note = "the length of the audio in its header is wrong; what is there was read"
            return _to_the_end(stream, wave, n_bytes, note)
        cut = f"claims {size} bytes in its header but has {n_there}, it was cut off or damaged"
        return _Extent(n_there, n_bytes, cut=cut)
    return _with_tail(stream, wave, n_bytes)


def _is_file_size(wave: Wave, n_bytes: int) -> bool:
    """Whether the data's length is a mistake: the file is as long as it says, or the length counts the header."""
    beyond = wave.end - n_bytes
    n_too_many = wave.data_start + wave.data_size - n_bytes
    if beyond == n_too_many:
        return False
    is_placeholder = wave.end - wave.start - 8 in (0, 0xFFFF_FFFF)
    counts_the_header = n_too_many == wave.data_start - wave.start
    return -1 <= beyond <= 1 or (counts_the_header and (is_placeholder or beyond == 8))  # noqa: PLR2004


def _with_tail(stream: BinaryIO, wave: Wave, n_bytes: int) -> _Extent:
    """The header's length is there; what comes after it is chunks, another file, a tag, or more audio."""
    end = wave.data_start + wave.data_size
    note = "" if abs(wave.end - n_bytes) <= 1 or wave.end == end else _end_note(wave, end, n_bytes)
    for tail in (end + wave.data_size % 2, end):
        if begins_file(stream, tail, n_bytes):
            return _Extent(wave.data_size, tail)
        if n_bytes - tail <= 1 or bytes_at(stream, tail, 8).startswith(_TAGS):
            return _Extent(wave.data_size, n_bytes, note)
        following = _chunks_follow(stream, tail, n_bytes, wave)
        if following is not None:
            return _Extent(wave.data_size, following, note if following == n_bytes else "")
    share = f"{wave.data_size} of {n_bytes - wave.data_start} bytes"
    return _to_the_end(stream, wave, n_bytes, f"its header covers {share} only; all of it was read")


def _end_note(wave: Wave, end: int, n_bytes: int) -> str:
    if wave.end > n_bytes + 8 and wave.end < UNKNOWN_LENGTH:
        return "it ends before the end that its header gives, though after its audio"
    return "" if end <= wave.end <= n_bytes else "the length of the file in its header is wrong; what is there was read"


def _chunks_follow(stream: BinaryIO, at: int, n_bytes: int, wave: Wave) -> int | None:
    """Where a row of chunks ends: at the end of the stream, or at a joined file. None if these are no chunks."""
    for _ in range(_MAX_CHUNKS):
        chunk = bytes_at(stream, at, 12)
        if begins_file(stream, at, n_bytes):
            return at
        if not _CHUNK_ID.fullmatch(chunk[:4]) or chunk[:4] == b"data" or len(chunk) < 8:  # noqa: PLR2004
            return None
        size = _uint(chunk[4:8], wave.order)
        if chunk[:4] in _KNOWN_IDS and at + 8 + size > n_bytes:
            return n_bytes
        at = _next_chunk(stream, at + 8, size, Wave(magic=wave.magic, start=0, end=0))
        if at > n_bytes + 1:
            return None
        if at >= n_bytes - 1:
            return n_bytes
    return None


def _to_the_end(stream: BinaryIO, wave: Wave, n_bytes: int, note: str, *, is_open: bool = False) -> _Extent:
    following = next_file(stream, wave.data_start, n_bytes)
    return _Extent(following - wave.data_start, following, note, is_open=is_open)


def _part(stream: BinaryIO, wave: Wave, size: int, name: str, limits: Limits) -> Part:
    pcm = pcm_of(wave.fmt, wave.order, name, limits)
    if pcm is not None:
        return pcm.part(Window(stream, wave.data_start, size), size, name, limits)
    return Part(stream=Window(stream, wave.data_start, size, _header(wave, size)), demuxer="wav")


def pcm_of(fmt: bytes, order: str, name: str, limits: Limits) -> Pcm | None:
    """What the format chunk of a WAV says; None for coded audio. Raises SchedError INVALID_AUDIO."""
    if len(fmt) < 16:  # noqa: PLR2004  the shortest there is
        raise invalid(f"{name} is a WAV without the description of its format; convert it to WAV again")
    tag, channels, rate_hz, _, align, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:  # noqa: PLR2004  where the sub-format begins
        tag = struct.unpack(order + "H", fmt[24:26])[0]
    check_shape(rate_hz, channels, name, limits)
    width = 1 if tag in (_ALAW, _MULAW) else _width(bits, align, channels)
    suffix = "be" if order == ">" else "le"
    sample_format = {
        _PCM: integers(width, suffix, is_signed=width > 1),
        _FLOAT: floats(width, suffix),
        _ALAW: "alaw",
        _MULAW: "mulaw",
    }.get(tag)
    if sample_format is None:
        return None
    return Pcm(sample_format=sample_format, width=width, rate_hz=rate_hz, channels=channels)


def _width(bits: int, align: int, channels: int) -> int:
    """Bytes of a sample: 20 bits may stand in 3 bytes and 24 in 4."""
    width = (bits + 7) // 8
    return align // channels if align % channels == 0 and align // channels > width else width


def _header(wave: Wave, size: int) -> bytes:
    """A header with the length that is there, for codings that FFmpeg reads from a WAV only."""
    length = struct.pack(wave.order + "I", min(size, 0xFFFF_FFFF))
    fmt = b"fmt " + struct.pack(wave.order + "I", len(wave.fmt)) + wave.fmt + b"\0" * (len(wave.fmt) % 2)
    magic = b"RIFX" if wave.order == ">" else b"RIFF"
    total = struct.pack(wave.order + "I", min(12 + len(fmt) + size, 0xFFFF_FFFF))
    return magic + total + b"WAVE" + fmt + b"data" + length


def _uint(four: bytes, order: str) -> int:
    number: int = struct.unpack(order + "I", four.ljust(4, b"\0"))[0]
    return number
