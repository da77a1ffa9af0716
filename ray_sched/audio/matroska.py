"""WebM and Matroska: elements in elements, each with a length, or with none where a browser recorded it live."""

from typing import BinaryIO

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_ENTERED = (_SEGMENT, _CLUSTER)
"""Elements whose insides are walked when their own length is unknown."""
_MAX_ELEMENTS = 10_000_000
_MAX_JOINED = 1_000
_HEAD_BYTES = 12
_BUFFER_BYTES = 2**16


def plan_matroska(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a WebM file, or of several that were joined. Raises SchedError INVALID_AUDIO."""
    del limits
    plan = Plan(container="matroska", parts=[])
    starts = _starts(plan, stream, start, n_bytes, name)
    for begin, end in zip(starts, [*starts[1:], n_bytes], strict=True):
        plan.parts.append(Part(stream=Window(stream, begin, end - begin), demuxer="matroska"))
    if len(starts) > 1:
        plan.notes.append(f"it is {len(starts)} joined WebM files; all of them were read")
    return plan


def _starts(plan: Plan, stream: BinaryIO, at: int, n_bytes: int, name: str) -> list[int]:
    """Where the joined files begin; what is missing is written down in the plan."""
    starts: list[int] = []
    held_start, held = 0, b""
    for _ in range(_MAX_ELEMENTS):
        if at >= n_bytes:
            return starts
        if not held_start <= at <= held_start + len(held) - _HEAD_BYTES:
            held_start, held = at, bytes_at(stream, at, _BUFFER_BYTES)
        head = held[at - held_start : at - held_start + _HEAD_BYTES]
        element, n_id = _number(head, keeps_mark=True)
        size, n_size = _number(head[n_id:], keeps_mark=False)
        if n_id == 0 or n_size == 0:
            if not head.strip(b"\0") and n_bytes - at < _BUFFER_BYTES:
                return starts
            plan.cut = plan.cut or "ends in the middle of an element or is damaged there, it was cut off"
            return starts
        if element == _EBML:
            starts.append(at)
        body = at + n_id + n_size
        is_unknown = size == (1 << 7 * n_size) - 1
        if not is_unknown and body + size > n_bytes:
            plan.cut = plan.cut or f"lacks {body + size - n_bytes} bytes at its end, it was cut off"
        if is_unknown and element not in _ENTERED:
            plan.cut = plan.cut or "is damaged inside"
            return starts
        at = body if element in _ENTERED else body + size
        if len(starts) > _MAX_JOINED:
            raise invalid(f"{name} is more than {_MAX_JOINED} joined WebM files; give them one by one")
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
