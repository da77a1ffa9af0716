"""FLAC: its header knows the number of frames, unless it was written to a pipe."""

from typing import BinaryIO

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_duration, check_shape, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_START = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_SEARCHED_BYTES = 2**20
_MAX_JOINED = 1_000


def plan_flac(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a FLAC file, or of several that were joined. Raises SchedError INVALID_AUDIO."""
    plan = Plan(container="flac", parts=[])
    starts = _starts(stream, start, n_bytes)
    if not starts or starts[0] != start:
        raise invalid(f"{name} is a FLAC file whose header is damaged; copy it again")
    if len(starts) > _MAX_JOINED:
        raise invalid(f"{name} is more than {_MAX_JOINED} joined FLAC files; give them one by one")
    for begin, end in zip(starts, [*starts[1:], n_bytes], strict=True):
        plan.add(_part(plan, stream, begin, end, name, limits))
    if len(starts) > 1:
        plan.notes.append(f"it is {len(starts)} joined FLAC files; all of them were read")
    return plan


def _part(plan: Plan, stream: BinaryIO, start: int, end: int, name: str, limits: Limits) -> Part:
    info = bytes_at(stream, start + 8, 34)
    packed = int.from_bytes(info[10:18], "big")
    rate_hz, channels, n_frames = packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1
    check_shape(rate_hz, channels, name, limits)
    if n_frames == 0:
        plan.notes.append("its header does not say how long it is; it was read to its end")
    check_duration(n_frames, rate_hz, name, limits.max_duration_s)
    return Part(
        stream=Window(stream, start, end - start),
        demuxer="flac",
        promised_s=n_frames / rate_hz if n_frames else None,
    )


def _starts(stream: BinaryIO, start: int, n_bytes: int) -> list[int]:
    """Where FLAC files begin."""
    found: list[int] = []
    for block_start in range(start, n_bytes, _SEARCHED_BYTES):
        block = bytes_at(stream, block_start, _SEARCHED_BYTES + 7)
        at = block.find(b"fLaC")
        while 0 <= at < _SEARCHED_BYTES:
            if block[at : at + 8] in _START:
                found.append(block_start + at)
            at = block.find(b"fLaC", at + 1)
    return found
