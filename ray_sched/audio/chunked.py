"""AIFF, CAF, AU and Wave64: plain samples after a header with lengths, which are compared with what is there.

What is coded (IMA ADPCM, AAC, Apple Lossless) is left to FFmpeg with the header as it is.
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from ray_sched.audio.joined import begins_file
from ray_sched.audio.pcm import Pcm, floats, integers
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import empty, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.riff import UNKNOWN_LENGTH, pcm_of
from ray_sched.audio.window import Window, bytes_at

_MAX_CHUNKS = 10_000
_AU_FORMATS = {1: "mulaw", 2: "s8", 3: "s16be", 4: "s24be", 5: "s32be", 6: "f32be", 7: "f64be", 27: "alaw"}
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_CAF_UNKNOWN = -1
_CHUNK_HEADS = {"aiff": (4, 8, 0, 2), "caf": (4, 12, 0, 1), "w64": (16, 24, 24, 8), "au": (4, 8, 0, 1)}
"""Bytes of a chunk's name, of its name and length, of those that its length counts; and where chunks may begin."""
_CHUNK_ID = re.compile(rb"[A-Za-z0-9_ .+()-]{4}")


def plan_aiff(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an AIFF or AIFF-C file. Raises SchedError INVALID_AUDIO."""
    pcm: Pcm | None = None
    for chunk, at, size in _chunks(stream, start + 12, n_bytes, name):
        if chunk == b"COMM":
            pcm = _aiff_pcm(bytes_at(stream, at, min(size, 64)), is_coded=bytes_at(stream, start + 8, 4) == b"AIFC")
        if chunk == b"SSND":
            offset = struct.unpack(">I", bytes_at(stream, at, 4).ljust(4, b"\0"))[0]
            claimed = None if size == 0 or size >= UNKNOWN_LENGTH else size - 8 - offset
            return _plan("aiff", stream, (start, at + 8 + offset, n_bytes), claimed, pcm, name, limits)
    raise empty(name)


def plan_caf(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a CAF file. Raises SchedError INVALID_AUDIO."""
    pcm: Pcm | None = None
    for chunk, at, size in _chunks(stream, start + 8, n_bytes, name, length=">q"):
        if chunk == b"desc":
            pcm = _caf_pcm(bytes_at(stream, at, 32).ljust(32, b"\0"))
        if chunk == b"data":
            claimed = None if size == _CAF_UNKNOWN else size - 4
            return _plan("caf", stream, (start, at + 4, n_bytes), claimed, pcm, name, limits)
    raise empty(name)


def plan_au(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an AU file, as Sun and NeXT had them. Raises SchedError INVALID_AUDIO."""
    head = bytes_at(stream, start, 24)
    if len(head) < 24:  # noqa: PLR2004  six numbers
        raise empty(name)
    offset, size, coding, rate_hz, channels = struct.unpack(">IIIII", head[4:])
    pcm = None
    if coding in _AU_FORMATS:
        pcm = Pcm(sample_format=_AU_FORMATS[coding], width=_AU_WIDTHS[coding], rate_hz=rate_hz, channels=channels)
    claimed = None if size == 0 or size >= UNKNOWN_LENGTH else size
    return _plan("au", stream, (start, start + offset, n_bytes), claimed, pcm, name, limits)


def plan_w64(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a Wave64 file: chunks have names of 16 bytes, and lengths that count these. Raises SchedError."""
    pcm: Pcm | None = None
    at = start + 40
    for _ in range(_MAX_CHUNKS):
        head = bytes_at(stream, at, 24)
        if len(head) < 24:  # noqa: PLR2004  a name and a length
            break
        size = struct.unpack("<q", head[16:])[0]
        if head[:4] == b"fmt ":
            pcm = pcm_of(bytes_at(stream, at + 24, max(0, min(size - 24, 4096))), "<", name, limits)
        if head[:4] == b"data":
            claimed = size - 24 if size > 24 else None  # noqa: PLR2004
            return _plan("w64", stream, (start, at + 24, n_bytes), claimed, pcm, name, limits)
        at += max(24, (size + 7) // 8 * 8)
    raise empty(name)


def _plan(
    kind: str,
    stream: BinaryIO,
    place: tuple[int, int, int],
    claimed: int | None,
    pcm: Pcm | None,
    name: str,
    limits: Limits,
) -> Plan:
    """``place``: where the file and its samples begin, and where the stream ends; ``claimed``: bytes of samples."""
    start, data_start, n_bytes = place
    n_there = n_bytes - data_start
    if n_there <= 0:
        raise empty(name)
    plan = Plan(container=kind, parts=[])
    if claimed is None:
        plan.notes.append("its header does not say how long it is; it was read to its end")
        plan.is_open = kind != "au"  # where unknown is one of the lengths that there are
    elif claimed > n_there:
        plan.cut = f"claims {claimed} bytes in its header but has {n_there}, it was cut off or damaged"
    n_taken = n_there if claimed is None else min(claimed, n_there)
    if claimed is not None and claimed < n_there:
        plan.end = _end_of_file(stream, data_start + claimed, n_bytes, kind)
        if plan.end is None and pcm is not None:
            plan.notes.append(f"its header covers {claimed} of {n_there} bytes only; all of it was read")
            n_taken = n_there
    if pcm is None:
        end = n_bytes if plan.end is None else plan.end
        plan.parts.append(Part(stream=Window(stream, start, end - start), demuxer=kind))
        return plan
    plan.add(pcm.part(Window(stream, data_start, n_taken), n_taken, name, limits))
    return plan


def _end_of_file(stream: BinaryIO, end: int, n_bytes: int, kind: str) -> int | None:
    """Where the chunks end that come after the audio; None if what comes there is neither chunks nor another file."""
    n_id, n_head, counted, step = _CHUNK_HEADS[kind]
    at = end + -end % step
    for _ in range(_MAX_CHUNKS):
        for place in {at, end}:
            if place >= n_bytes or begins_file(stream, place, n_bytes):
                return place
        head = bytes_at(stream, at, n_head)
        if len(head) < n_head or not _CHUNK_ID.fullmatch(head[:4]):
            return None if at == end + -end % step else at
        size = int.from_bytes(head[n_id:], "little" if kind == "w64" else "big")
        end = at + n_head - counted + size
        at = end + -end % step
    return None


def _chunks(stream: BinaryIO, at: int, n_bytes: int, name: str, length: str = ">I") -> Iterator[tuple[bytes, int, int]]:
    """The name, beginning and length of each chunk."""
    n_head = 4 + struct.calcsize(length)
    for _ in range(_MAX_CHUNKS):
        head = bytes_at(stream, at, n_head)
        if len(head) < n_head:
            return
        size = struct.unpack(length, head[4:])[0]
        yield head[:4], at + n_head, size
        at += n_head + max(0, size) + (size % 2 if n_head == 8 else 0)  # noqa: PLR2004  AIFF pads, CAF does not
        if at > n_bytes:
            return
    raise invalid(f"{name} has more than {_MAX_CHUNKS} chunks; convert it to WAV")


def _aiff_pcm(comm: bytes, *, is_coded: bool) -> Pcm | None:
    if len(comm) < 18:  # noqa: PLR2004  without a coding
        return None
    channels, bits = struct.unpack(">H4xH", comm[:8])
    coding = comm[18:22] if is_coded else b"NONE"
    width = (bits + 7) // 8
    sample_format, width = {
        b"NONE": (integers(width, "be"), width),
        b"twos": (integers(width, "be"), width),
        b"sowt": (integers(width, "le"), width),
        b"raw ": ("u8", 1),
        b"in24": ("s24be", 3),
        b"in32": ("s32be", 4),
        b"fl32": ("f32be", 4),
        b"FL32": ("f32be", 4),
        b"fl64": ("f64be", 8),
        b"FL64": ("f64be", 8),
        b"ulaw": ("mulaw", 1),
        b"ULAW": ("mulaw", 1),
        b"alaw": ("alaw", 1),
        b"ALAW": ("alaw", 1),
    }.get(coding, (None, 0))
    if sample_format is None:
        return None
    return Pcm(sample_format=sample_format, width=width, rate_hz=_extended(comm[8:18]), channels=channels)


def _extended(ten: bytes) -> int:
    """A whole number from the 80-bit float in which AIFF writes its rate; 0 for what is no rate."""
    exponent, mantissa = struct.unpack(">HQ", ten)
    shift = 16_383 + 63 - exponent
    return mantissa >> shift if 0 <= shift <= 63 else 0  # noqa: PLR2004  the bits of the mantissa


def _caf_pcm(desc: bytes) -> Pcm | None:
    rate, coding, flags, frame_bytes, _, channels, bits = struct.unpack(">d4sIIIII", desc)
    rate_hz = int(rate) if 0 < rate < 2**31 else 0
    order = "le" if flags & 2 else "be"
    width = frame_bytes // channels if channels and frame_bytes % channels == 0 else (bits + 7) // 8
    sample_format = {
        b"lpcm": floats(width, order) if flags & 1 else integers(width, order),
        b"ulaw": "mulaw",
        b"alaw": "alaw",
    }.get(coding)
    if sample_format is None:
        return None
    return Pcm(sample_format=sample_format, width=width, rate_hz=rate_hz, channels=channels)
