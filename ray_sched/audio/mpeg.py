"""MP3 (and MP1, MP2) and AAC in ADTS: frames in a row, whose lengths are in their headers.

All of them are counted, so that what is said of their number elsewhere (an index of the first of joined files, an
estimate from the bit rate) is only ever compared and never believed.
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_duration, check_shape, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.sniff import tag_size
from ray_sched.audio.window import Window, bytes_at

_BUFFER_BYTES = 2**18
_HEAD_BYTES = 200
"""Enough of a frame to see whether it is an index, and of a tag to see how long it is."""
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_ADTS_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_DIVISORS = {3: 1, 2: 2, 0: 4}
"""Of the rate, by the bits that say the version: MPEG 1, 2 and 2.5."""
_TRIMMED = 4
"""Frames that a decoder may rightly leave out: its delay, and the index that looks like a frame."""
_BEGINNING = re.compile(rb"\xff(?=[\xe0-\xff])|ID3|TAG")
"""Of a frame or a tag."""
_SYNC_BYTES = 2
_MAX_PARTS = 1_000
_MAX_LOOKS = 100_000


class _Frame(Struct, frozen=True):
    size: int
    n_samples: int
    rate_hz: int
    channels: int
    layer: int
    """0 for AAC."""
    promised: int = -1
    """Frames that follow, if this one is an index (Xing, Info or VBRI); -1 if not."""

    def goes_on_as(self, other: "_Frame") -> bool:
        """Whether the other is of the same stream."""
        return (self.rate_hz, self.layer) == (other.rate_hz, other.layer)


class _Run(Struct, kw_only=True):
    """Frames without anything between them."""

    start: int
    end: int
    first: _Frame
    n_frames: int = 1

    @property
    def promised_s(self) -> float:
        """What a decoder makes of it at least."""
        n_frames = self.n_frames - (0 if self.first.layer == 0 else _TRIMMED)
        return max(0, n_frames) * self.first.n_samples / self.first.rate_hz


class _Reader:
    """Bytes at rising positions, read in large pieces; it ends a search that leads nowhere."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._n_looks = 0
        self._start = 0
        self._held = b""

    def at(self, position: int, size: int) -> bytes:
        offset = position - self._start
        if offset < 0 or offset + size > len(self._held):
            self._start, offset = position, 0
            self._held = bytes_at(self._stream, position, _BUFFER_BYTES + size)
        return self._held[offset : offset + size]

    def look(self) -> None:
        """One more place was looked at for a frame. Raises SchedError INVALID_AUDIO when these are too many."""
        self._n_looks += 1
        if self._n_looks > _MAX_LOOKS:
            raise invalid(f"{self._name} begins like an MP3 and goes on as something else; convert it to WAV")


def plan_mpeg(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of MPEG audio, be it one file or several that were joined. Raises SchedError INVALID_AUDIO."""
    plan = Plan(container="mp3", parts=[])
    runs: list[_Run] = []
    for run in _runs(plan, _Reader(stream, name), (start, n_bytes), limits.max_duration_s):
        check_duration(int(run.promised_s * 1000), 1000, name, limits.max_duration_s)
        runs.append(run)
        if len(runs) > _MAX_PARTS:
            raise invalid(f"{name} is damaged in more than {_MAX_PARTS} places, or as many files; convert it to WAV")
    if not runs:
        raise invalid(
            f"{name} is not in a known audio format, though it begins like an MP3;"
            " give another, or raw samples together with sample_rate_hz"
        )
    plan.container = "adts" if runs[0].first.layer == 0 else f"mp{runs[0].first.layer}"
    for run in runs:
        check_shape(run.first.rate_hz, run.first.channels, name, limits)
        window = Window(stream, run.start, run.end - run.start)
        demuxer = "aac" if run.first.layer == 0 else "mp3"
        plan.add(Part(stream=window, demuxer=demuxer, promised_s=run.promised_s))
        plan.about_s += run.n_frames * run.first.n_samples / run.first.rate_hz
        _check_index(plan, run)
    if len(runs) > 1:
        plan.notes.append(f"it is {len(runs)} joined pieces; all of them were read")
    return plan


def begins_frames(stream: BinaryIO, at: int, n_bytes: int) -> bool:
    """Whether frames of MPEG audio begin exactly here: at least two, or one that is all there is."""
    reader = _Reader(stream, "")
    frame = _frame(reader.at(at, _HEAD_BYTES))
    return frame is not None and _is_followed(reader, at, frame, n_bytes)


def _check_index(plan: Plan, run: _Run) -> None:
    n_after = run.n_frames - 1
    if run.first.promised > n_after + 1:  # some programs count the index, too
        plan.cut = plan.cut or f"claims {run.first.promised} frames and holds {n_after}, it was cut off or damaged"


def _runs(plan: Plan, reader: _Reader, place: tuple[int, int], max_s: float) -> Iterator[_Run]:
    """Rows of frames, none much longer than ``max_s``; what stands between them is written down in the plan."""
    at, n_bytes = place
    run: _Run | None = None
    while at < n_bytes:
        frame = _frame(reader.at(at, _HEAD_BYTES))
        if frame is None or (run is None and not _is_followed(reader, at, frame, n_bytes)):
            if run is not None:
                yield run
            at = _after_junk(plan, reader, at, n_bytes, is_first=run is None)
            run = None
            continue
        if at + frame.size > n_bytes:
            plan.cut = plan.cut or "ends in the middle of a frame, it was cut off"
            break
        if run is not None and frame.promised < 0 and run.first.goes_on_as(frame) and run.promised_s <= max_s:
            run.n_frames += 1
            run.end = at + frame.size
        else:
            if run is not None:
                yield run
            run = _Run(start=at, end=at + frame.size, first=frame)
        at += frame.size
    if run is not None:
        yield run


def _after_junk(plan: Plan, reader: _Reader, at: int, n_bytes: int, *, is_first: bool) -> int:
    """The position of the next frame. Tags and zeros are left out; anything else is noted, or is damage."""
    if n_skipped := _tag(reader.at(at, _HEAD_BYTES)):
        return at + n_skipped
    start, is_blank = at, True
    while at < n_bytes:
        block = reader.at(at, min(_BUFFER_BYTES, n_bytes - at))
        found = _candidate(reader, block, at, n_bytes)
        end = at + max(1, len(block) - _SYNC_BYTES) if found is None else found
        is_blank = is_blank and not block[: end - at].strip(b"\0\r\n")
        at = end
        if found is not None:
            break
    if is_blank:
        return at
    if is_first and at < n_bytes:
        plan.is_open = True
        plan.notes.append(f"{at - start} bytes before its first frame belong to none, so it may not be whole")
    elif at >= n_bytes:
        plan.is_open = True
        plan.notes.append("what comes after its last frame is no audio and was left out, so it may not be whole")
    else:
        plan.cut = plan.cut or f"has {at - start} bytes inside that belong to no frame, it is damaged"
    return at


def _candidate(reader: _Reader, block: bytes, at: int, n_bytes: int) -> int | None:
    """Where in a block a frame begins that is followed by another, or a tag; None if none does."""
    for found in _BEGINNING.finditer(block):
        reader.look()
        place = at + found.start()
        head = reader.at(place, _HEAD_BYTES)
        frame = _frame(head)
        if _tag(head) or (frame is not None and _is_followed(reader, place, frame, n_bytes)):
            return place
    return None


def _is_followed(reader: _Reader, at: int, frame: _Frame, n_bytes: int) -> bool:
    """Whether another frame of the same kind comes next, or the end: bits that look like one frame are common."""
    following = at + frame.size
    if following >= n_bytes:
        return following == n_bytes
    head = reader.at(following, _HEAD_BYTES)
    other = _frame(head)
    return (other is not None and frame.goes_on_as(other)) or bool(_tag(head))


def _tag(head: bytes) -> int:
    """Bytes of the tag that begins here; 0 if none does."""
    if head.startswith(b"TAG"):
        return 128
    if head.startswith(b"APETAGEX") and len(head) >= 24:  # noqa: PLR2004  its header
        size, flags = struct.unpack("<I4xI", head[12:24])
        return int(size) + (32 if flags & 0x2000_0000 else 0)
    return tag_size(head)


def _frame(head: bytes) -> _Frame | None:
    """The frame whose header these bytes begin with."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    return _adts_frame(head) if head[1] & 0xF6 == 0xF0 else _mpeg_frame(head)  # noqa: PLR2004


def _adts_frame(head: bytes) -> _Frame | None:
    rate_index, size = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate_index >= len(_ADTS_RATES_HZ) or size < 7:  # noqa: PLR2004  the header itself
        return None
    channels = max(1, (head[2] & 1) << 2 | head[3] >> 6)
    return _Frame(size, 1024 * ((head[6] & 3) + 1), _ADTS_RATES_HZ[rate_index], channels, 0)


def _mpeg_frame(head: bytes) -> _Frame | None:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:  # noqa: PLR2004  each of them reserved
        return None
    kbps = _KBPS[1 if version == 3 else 2, layer][bit_rate - 1]  # noqa: PLR2004  the bits of MPEG 1
    rate_hz = _RATES_HZ[rate] // _DIVISORS[version]
    n_samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]  # noqa: PLR2004
    size = (12_000 * kbps // rate_hz + padding) * 4 if layer == 1 else n_samples * 125 * kbps // rate_hz + padding
    channels = 1 if head[3] >> 6 == 3 else 2  # noqa: PLR2004  the bits of mono
    return _Frame(size, n_samples, rate_hz, channels, layer, _promised(head))


def _promised(head: bytes) -> int:
    """Frames that follow by the index of a whole file, which stands in its first frame; -1 if this is none."""
    for tag in (b"Xing", b"Info"):
        at = head.find(tag, 4, 48)
        if at >= 0:
            flags, n_frames = struct.unpack(">II", head[at + 4 : at + 12])
            return n_frames if flags & 1 else 0
    if head[36:40] == b"VBRI":
        return int(struct.unpack(">I", head[50:54])[0])
    return -1
