"""Ogg: Vorbis, Opus, FLAC and Speex. Every page is checked, since FFmpeg ends at a page that is cut without a word.

Joined ("chained") files are found by their beginnings, and each is decoded for itself.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from ray_sched.audio.joined import begins_file
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_shape, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_HEADER_BYTES = 27
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_MAX_JOINED = 1_000
_MAX_PAGES = 2_000_000
_MAX_DAMAGED = 1_000
_MAX_STREAMS = 64
_SEARCHED_BYTES = 2**20
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OPUS_RATE_HZ = 48_000


class _Page(Struct, frozen=True, kw_only=True):
    at: int
    size: int
    flags: int
    serial: int
    number: int
    granule: int
    """Frames up to its end, as the codec counts them; -1 if no packet ends in it."""
    is_sound: bool
    """Whether it is whole and its check sum is right."""
    is_unfinished: bool
    """Whether its last packet goes on in the next page."""
    body: bytes


class _Link(Struct, kw_only=True):
    """One of the files that were joined."""

    start: int
    end: int = 0
    is_begun: bool = False
    """Whether pages other than the first of each stream were seen."""
    last: dict[int, _Page] = {}
    """The last page of each stream."""
    audio: int | None = None
    """Serial number of the first audio stream."""
    granules_hz: int = 0
    """Of the first audio stream, in a second."""


def plan_ogg(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an Ogg file or of several that were joined. Raises SchedError INVALID_AUDIO."""
    plan = Plan(container="ogg", parts=[])
    links = [_Link(start=start)]
    end = start
    n_pages = n_damaged = 0
    for page in _pages(stream, start, n_bytes):
        n_pages, n_damaged = n_pages + 1, n_damaged + (not page.is_sound)
        if n_pages > _MAX_PAGES or n_damaged > _MAX_DAMAGED:
            raise invalid(f"{name} has more than {_MAX_PAGES} pages, or {_MAX_DAMAGED} damaged ones; convert it to WAV")
        if page.at > end:
            _skipped(plan, f"{page.at - end} bytes between its pages belong to none")
        end = page.at + page.size
        if not page.is_sound:
            _skipped(plan, "ends in the middle of a page" if end > n_bytes else "has a damaged page")
            continue
        if page.flags & _FIRST and links[-1].is_begun:
            links.append(_Link(start=page.at))
        _add(plan, links[-1], page, name, limits)
        if len(links) > _MAX_JOINED:
            raise invalid(f"{name} is more than {_MAX_JOINED} joined Ogg files; give them one by one")
    if begins_file(stream, end, n_bytes):
        plan.end = end
    elif end < n_bytes:
        _after_the_end(plan, stream, end, n_bytes)
    _add_parts(plan, stream, links)
    if not plan.parts:
        raise invalid(f"{name} is an Ogg file without sound that can be decoded; give Vorbis, Opus, FLAC or Speex")
    return plan


def _add_parts(plan: Plan, stream: BinaryIO, links: list[_Link]) -> None:
    for link in links:
        if link.audio is not None:
            plan.parts.append(Part(stream=Window(stream, link.start, link.end - link.start), demuxer="ogg"))
            last = link.last[link.audio]
            plan.about_s += max(0, last.granule) / link.granules_hz
            _check_end(plan, last)
    if len(links) > 1:
        plan.notes.append(f"it is {len(links)} joined Ogg files; all of them were read")


def _add(plan: Plan, link: _Link, page: _Page, name: str, limits: Limits) -> None:
    if page.flags & _FIRST:
        if len(link.last) >= _MAX_STREAMS:
            raise invalid(f"{name} has more than {_MAX_STREAMS} streams; give one with sound only")
        if link.audio is None and (rate_hz := _rate_of(page.body, name, limits)):
            link.audio, link.granules_hz = page.serial, rate_hz
    else:
        link.is_begun = True
        before = link.last.get(page.serial)
        if before is None or page.number != (before.number + 1) & 0xFFFF_FFFF:
            _skipped(plan, "lacks pages inside")
        elif bool(page.flags & _CONTINUED) != before.is_unfinished:
            _skipped(plan, "lacks a part of a packet")
    link.last[page.serial] = page
    link.end = page.at + page.size


def _check_end(plan: Plan, last: _Page) -> None:
    if last.is_unfinished:
        _skipped(plan, "ends in the middle of a packet")
    elif not last.flags & _LAST:
        plan.is_open = True
        plan.notes.append("it ends without an end mark, so it may not be whole")


def _skipped(plan: Plan, what: str) -> None:
    plan.cut = plan.cut or f"{what}, it was cut off or damaged"


def _after_the_end(plan: Plan, stream: BinaryIO, end: int, n_bytes: int) -> None:
    tail = bytes_at(stream, end, min(n_bytes - end, _SEARCHED_BYTES))
    if tail.startswith((b"TAG", b"ID3", b"APETAGEX")) or not tail.strip(b"\0\r\n"):
        plan.notes.append("what comes after its end is no audio and was left out")
    else:
        _skipped(plan, f"has {n_bytes - end} bytes after its last page that belong to none")


def _rate_of(body: bytes, name: str, limits: Limits) -> int:
    """The rate, if the first packet of a stream is that of a sound; 0 if not. Rate and channels are checked."""
    if body.startswith(b"\x01vorbis") and len(body) >= 16:  # noqa: PLR2004  up to the rate
        channels, rate_hz = struct.unpack("<BI", body[11:16])
    elif body.startswith(b"OpusHead") and len(body) >= 10:  # noqa: PLR2004  up to the channels
        channels, rate_hz = body[9], _OPUS_RATE_HZ
    elif body.startswith(b"\x7fFLAC") and len(body) >= 31:  # noqa: PLR2004  up to the channels of STREAMINFO
        packed = int.from_bytes(body[27:31], "big")
        channels, rate_hz = (packed >> 9 & 7) + 1, packed >> 12
    elif body.startswith(b"Speex   ") and len(body) >= 52:  # noqa: PLR2004  up to the channels
        rate_hz, channels = struct.unpack("<I8xI", body[36:52])
    else:
        return 0
    check_shape(rate_hz, channels, name, limits)
    return int(rate_hz)


def _pages(stream: BinaryIO, at: int, n_bytes: int) -> Iterator[_Page]:
    while at < n_bytes:
        head = bytes_at(stream, at, _HEADER_BYTES + 255)
        if head[:4] != b"OggS":
            found = _find(stream, at + 1, n_bytes)
            if found is None:
                return
            at = found
            continue
        page = _page(stream, at, head)
        yield page
        at += page.size if page.is_sound or at + page.size >= n_bytes else 4


def _page(stream: BinaryIO, at: int, head: bytes) -> _Page:
    lengths = head[_HEADER_BYTES : _HEADER_BYTES + head[26]] if len(head) >= _HEADER_BYTES else b""
    start = _HEADER_BYTES + len(lengths)
    size = start + sum(lengths)
    page = bytes_at(stream, at, size)
    head = head.ljust(_HEADER_BYTES, b"\0")
    flags, granule, serial, number, check_sum = struct.unpack("<BqIII", head[5:26])
    is_there = len(page) == size and len(lengths) == head[26]
    return _Page(
        at=at,
        size=size if is_there else max(size, len(page) + 1),
        flags=flags,
        serial=serial,
        number=number,
        granule=granule,
        is_sound=is_there and _check_sum(page) == check_sum,
        is_unfinished=lengths[-1:] == b"\xff",
        body=page[start : start + 64],
    )


def _check_sum(page: bytes) -> int:
    """Ogg's CRC is the one of zlib with the bits the other way round, begun with zeros and not inverted."""
    blank = page[:22] + b"\0\0\0\0" + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")


def _find(stream: BinaryIO, at: int, n_bytes: int) -> int | None:
    while at < n_bytes:
        block = bytes_at(stream, at, _SEARCHED_BYTES + 3)
        if (found := block.find(b"OggS")) >= 0:
            return at + found
        at += _SEARCHED_BYTES
    return None
