"""MP4, M4A, MOV and 3GP: boxes with lengths. An index ("moov") says where the samples are."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_MAX_BOXES = 1_000_000
_MAX_JOINED = 1_000
_LARGE, _TO_THE_END = 1, 0


def plan_mp4(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an MP4, or of several that were joined. Raises SchedError INVALID_AUDIO."""
    del limits
    plan = Plan(container="mp4", parts=[])
    is_indexed, last, at = False, b"", start
    for kind, end in _boxes(stream, start, n_bytes, name):
        if kind == b"ftyp" and at > start:
            _add(plan, stream, start, at, name, is_indexed=is_indexed)
            start, is_indexed = at, False
        is_indexed = is_indexed or (kind == b"moov" and end <= n_bytes)
        if end > n_bytes:
            plan.cut = f"lacks {end - n_bytes} bytes at its end, it was cut off"
        last, at = kind if kind in (b"moof", b"mdat") else last, end
    _add(plan, stream, start, n_bytes, name, is_indexed=is_indexed)
    if last == b"moof":
        plan.cut = plan.cut or "ends before the audio of its last fragment, it was cut off"
    if len(plan.parts) > 1:
        plan.notes.append(f"it is {len(plan.parts)} joined MP4 files; all of them were read")
    return plan


def _add(plan: Plan, stream: BinaryIO, start: int, end: int, name: str, *, is_indexed: bool) -> None:
    if not is_indexed:
        raise invalid(f"{name} has no index, so its sound cannot be found; its writer was stopped, record it again")
    if len(plan.parts) >= _MAX_JOINED:
        raise invalid(f"{name} is more than {_MAX_JOINED} joined MP4 files; give them one by one")
    plan.add(Part(stream=Window(stream, start, end - start), demuxer="mp4"))


def _boxes(stream: BinaryIO, at: int, n_bytes: int, name: str) -> Iterator[tuple[bytes, int]]:
    """The name of each box, and where it ends."""
    for _ in range(_MAX_BOXES):
        head = bytes_at(stream, at, 16)
        if not head.strip(b"\0"):
            return
        size, kind = struct.unpack(">I4s", head[:8].ljust(8, b"\0"))
        if size == _LARGE:
            size = struct.unpack(">Q", head[8:].ljust(8, b"\0"))[0]
        if size == _TO_THE_END:
            size = n_bytes - at
        if len(head) < 8 or size < 8:  # noqa: PLR2004  the length and the name
            yield kind, n_bytes + 1
            return
        yield kind, at + size
        at += size
        if at >= n_bytes:
            return
    raise invalid(f"{name} has more than {_MAX_BOXES} boxes; convert it to WAV")
