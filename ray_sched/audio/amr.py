"""AMR, as phones record it: frames of 20 ms whose lengths follow from their modes."""

from typing import BinaryIO

from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import check_duration, empty, invalid
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_NARROW, _WIDE = b"#!AMR\n", b"#!AMR-WB\n"
_NARROW_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)
_WIDE_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)
"""Bytes of a frame by its mode; 0 for modes that there are not."""
_FRAME_S = 0.02
_BLOCK_BYTES = 2**20
_MAX_JOINED = 1_000


def plan_amr(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an AMR file, narrow or wide band, or of several that were joined. Raises SchedError INVALID_AUDIO."""
    plan = Plan(container="amr", parts=[])
    at = start
    while at < n_bytes:
        head = bytes_at(stream, at, len(_WIDE))
        magic = next((magic for magic in (_WIDE, _NARROW) if head.startswith(magic)), None)
        if magic is None:
            break
        sizes = _WIDE_BYTES if magic == _WIDE else _NARROW_BYTES
        end, n_frames = _frames(stream, (at + len(magic), n_bytes), sizes, limits.max_duration_s)
        check_duration(n_frames, round(1 / _FRAME_S), name, limits.max_duration_s)
        if n_frames:
            plan.add(Part(stream=Window(stream, at, end - at), demuxer="amr", promised_s=n_frames * _FRAME_S))
        at = end
        if len(plan.parts) > _MAX_JOINED:
            raise invalid(f"{name} is more than {_MAX_JOINED} joined AMR files; give them one by one")
    if at == start:
        raise invalid(f"{name} is AMR with several channels, which is not read; convert it to WAV")
    if at < n_bytes:
        plan.cut = f"has {n_bytes - at} bytes at its end that are no whole frame, it was cut off or damaged"
    if not plan.parts:
        raise empty(name)
    if len(plan.parts) > 1:
        plan.notes.append(f"it is {len(plan.parts)} joined AMR files; all of them were read")
    return plan


def _frames(stream: BinaryIO, place: tuple[int, int], sizes: tuple[int, ...], max_s: float) -> tuple[int, int]:
    """Where the whole frames that begin here end, and how many they are, up to those of ``max_s``."""
    at, n_bytes = place
    n_frames, block_start, block = 0, at, b""
    while at < n_bytes and n_frames * _FRAME_S <= max_s:
        if at >= block_start + len(block):
            block_start, block = at, bytes_at(stream, at, _BLOCK_BYTES)
        toc = block[at - block_start]
        size = 0 if toc & 0x83 else sizes[toc >> 3 & 15]
        if size == 0 or at + size > n_bytes:
            break
        at += size
        n_frames += 1
    return at, n_frames
