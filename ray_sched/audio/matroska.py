"""WebM and Matroska: elements in elements, each with a length, or with none where a browser recorded it live."""

from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import empty, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ENTERED = (_SEGMENT, _CLUSTER)
"""Elements whose insides are walked, so that no block is missed whose length is damaged."""
_LEVEL_1 = (
    _EBML,
    _SEGMENT,
    _CLUSTER,
    0x1C53BB6B,
    0x1254C367,
    0x1549A966,
    0x1654AE6B,
    0x114D9B74,
    0x1941A469,
    0x1043A770,
)
_ANYWHERE = (0xEC, 0xBF)
"""Elements that stand beside a cluster: indexes, tags, tracks and so on; and, of _ANYWHERE, padding and check sums."""
_SIMPLE_BLOCK = 0xA3
_UNKNOWN = 2**63
_MAX_ELEMENTS = 2_000_000
_MAX_JOINED = 1_000
_HEAD_BYTES = 13
_BUFFER_BYTES = 2**16


class _File(Struct):
    start: int
    tracks: dict[int, tuple[int, int]] = {}
    """Where the first and the last simple block of each track is."""


class _Element(Struct, frozen=True, kw_only=True):
    kind: int
    at: int
    body: int
    """Where what is in it begins."""
    size: int | None
    """Bytes of what is in it; None if it does not say."""
    track: int = 0
    """Of a block: the first byte in it, which is all of its track's number where there are fewer than 127."""


def plan_matroska(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a WebM file, or of several that were joined. Raises SchedError INVALID_AUDIO."""
    del limits
    plan = Plan(container="matroska", parts=[])
    files = _files(plan, stream, start, n_bytes, name)
    if not files:
        raise empty(name)
    for file, end in zip(files, [*(file.start for file in files[1:]), n_bytes], strict=True):
        tracks = tuple((first - file.start, last - file.start) for first, last in file.tracks.values())
        plan.parts.append(Part(stream=Window(stream, file.start, end - file.start), demuxer="matroska", tracks=tracks))
    if len(files) > 1:
        plan.notes.append(f"it is {len(files)} joined WebM files; all of them were read")
    return plan


def _files(plan: Plan, stream: BinaryIO, at: int, n_bytes: int, name: str) -> list[_File]:
    """The joined files; what is missing is written down in the plan."""
    files: list[_File] = []
    cluster_end = at
    for element in _elements(stream, at, n_bytes, name):
        if element.kind == _EBML:
            files.append(_File(start=element.at))
        elif element.kind == _SIMPLE_BLOCK and files:
            tracks = files[-1].tracks
            tracks[element.track] = (tracks.get(element.track, (element.body, 0))[0], element.body)
        fault = _fault(element, n_bytes, cluster_end)
        plan.cut = plan.cut or fault
        if element.kind == _CLUSTER:
            cluster_end = _UNKNOWN if element.size is None else element.body + element.size
        elif cluster_end == _UNKNOWN and element.kind in _LEVEL_1:
            cluster_end = element.at
        if len(files) > _MAX_JOINED:
            raise invalid(f"{name} is more than {_MAX_JOINED} joined WebM files; give them one by one")
    return files


def _fault(element: _Element, n_bytes: int, cluster_end: int) -> str | None:
    """What is wrong with an element; ``cluster_end``: where the cluster before it ends, _UNKNOWN if it does not say."""
    if element.kind == 0:
        return "ends in the middle of an element or is damaged there, it was cut off"
    if element.size is not None and element.body + element.size > n_bytes:
        return f"lacks {element.body + element.size - n_bytes} bytes at its end, it was cut off"
    is_inside = element.at < cluster_end
    is_placed = cluster_end != _UNKNOWN and element.kind not in _ANYWHERE
    is_misplaced = is_placed and is_inside == (element.kind in _LEVEL_1)
    ends_outside = is_inside and element.size is not None and element.body + element.size > cluster_end != _UNKNOWN
    is_endless = element.size is None and element.kind not in _ENTERED
    return "is damaged inside" if is_misplaced or ends_outside or is_endless else None


def _elements(stream: BinaryIO, at: int, n_bytes: int, name: str) -> Iterator[_Element]:
    """The elements one after another; one of kind 0 where there should be one and is none."""
    held_start, held = 0, b""
    for _ in range(_MAX_ELEMENTS):
        if at >= n_bytes:
            return
        if not held_start <= at <= held_start + len(held) - _HEAD_BYTES:
            held_start, held = at, bytes_at(stream, at, _BUFFER_BYTES)
        head = held[at - held_start : at - held_start + _HEAD_BYTES]
        kind, n_kind = _number(head, keeps_mark=True)
        size, n_size = _number(head[n_kind:], keeps_mark=False)
        if n_kind == 0 or n_size == 0:
            if head.strip(b"\0") or n_bytes - at > _BUFFER_BYTES:
                yield _Element(kind=0, at=at, body=at, size=0)
            return
        body = at + n_kind + n_size
        is_unknown = size == (1 << 7 * n_size) - 1
        track = head[n_kind + n_size] if kind == _SIMPLE_BLOCK and len(head) > n_kind + n_size else 0
        yield _Element(kind=kind, at=at, body=body, size=None if is_unknown else size, track=track)
        at = body if is_unknown or kind in _ENTERED else body + size
    raise invalid(f"{name} has more than {_MAX_ELEMENTS} elements; convert it to WAV")


def _number(head: bytes, *, keeps_mark: bool) -> tuple[int, int]:
    """A number and its bytes: as many as there are zeros before the first one, and one more. (0, 0) if it is none."""
    if not head or head[0] == 0:
        return 0, 0
    n = 9 - head[0].bit_length()
    if len(head) < n:
        return 0, 0
    number = int.from_bytes(head[:n], "big")
    return (number if keeps_mark else number & (1 << 7 * n) - 1), n
