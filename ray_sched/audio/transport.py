"""Containers of broadcasts and videos, of which the first sound is heard: FLV, AVI, MPEG streams."""

import struct
from typing import BinaryIO

from ray_sched.audio.joined import begins_file
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_TS_PACKET_BYTES = 188
_PROGRAM_END = b"\0\0\1\xb9"
_PACK = b"\xba"


def plan_flv(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an FLV file: its tags are walked to the end."""
    del name, limits
    plan = _plan("flv", stream, start, n_bytes)
    at = start + struct.unpack(">I", bytes_at(stream, start + 5, 4).ljust(4, b"\0"))[0] + 4
    while at < n_bytes:
        head = bytes_at(stream, at, 4)
        at += 15 + int.from_bytes(head[1:4], "big")
    if at > n_bytes + 4:  # the length of the last tag, which stands behind it, may be missing
        plan.cut = "ends in the middle of a tag, it was cut off"
    return plan


def plan_program(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an MPEG program stream."""
    del name, limits
    plan = _plan("mpeg", stream, start, n_bytes)
    at = start
    while at < n_bytes:
        head = bytes_at(stream, at, 14)
        if head.startswith(_PROGRAM_END):
            return plan
        if head[:3] != _PROGRAM_END[:3] or len(head) < 6:  # noqa: PLR2004  a name and a length
            break
        at += _program_size(head)
    if at == n_bytes or (at < n_bytes and not bytes_at(stream, at, n_bytes - at).strip(b"\0")):
        plan.is_open = True
        plan.notes.append("it ends without an end mark, so it may not be whole")
    else:
        plan.cut = "ends in the middle of a packet or is damaged, it was cut off"
    return plan


def _program_size(head: bytes) -> int:
    """Bytes of a pack header, in its older or newer form, or of a packet."""
    if head[3:4] != _PACK:
        return 6 + int.from_bytes(head[4:6], "big")
    return 12 if head[4] >> 6 == 0 else 14 + (head[-1] & 7)


def plan_transport(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an MPEG transport stream."""
    del name, limits
    plan = _plan("mpegts", stream, start, n_bytes)
    if (n_bytes - start) % _TS_PACKET_BYTES:
        plan.cut = "ends in the middle of a packet, it was cut off"
    return plan


def plan_avi(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of an AVI file, in which further lists may follow the first."""
    del name, limits
    at = start
    while at < n_bytes and (at == start or bytes_at(stream, at + 8, 4) == b"AVIX"):
        size = int.from_bytes(bytes_at(stream, at + 4, 4), "little")
        if size == 0:
            plan = _plan("avi", stream, start, n_bytes)
            plan.is_open = True
            plan.notes.append("its header does not say how long it is; it may not be whole")
            return plan
        at += 8 + size + size % 2
    plan = _plan("avi", stream, start, min(at, n_bytes))
    plan.end = at if at < n_bytes else None
    if at > n_bytes + 1:
        plan.cut = f"lacks {at - n_bytes} bytes at its end, it was cut off"
    elif at < n_bytes and not begins_file(stream, at, n_bytes):
        plan.cut = f"has {n_bytes - at} bytes behind its end that belong to none, it is damaged"
    return plan


def _plan(demuxer: str, stream: BinaryIO, start: int, n_bytes: int) -> Plan:
    return Plan(container=demuxer, parts=[Part(stream=Window(stream, start, n_bytes - start), demuxer=demuxer)])
