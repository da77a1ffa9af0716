"""WMA (ASF): objects with lengths, of which the header says how many packets of audio follow."""

import struct
from typing import BinaryIO

from ray_sched.audio.joined import begins_file
from ray_sched.audio.plan import Part, Plan
from ray_sched.audio.refusals import empty
from ray_sched.audio.report import Limits
from ray_sched.audio.window import Window, bytes_at

_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_INDEXES = (b"\x90\x08\x00\x33", b"\xd3\x29\xe2\xd6", b"\xf8\x03\xb1\xfe", b"\xd0\x3f\xb7\x3c")
"""How the names of objects begin that may follow the audio."""
_OBJECT_BYTES = 24
_DATA_HEAD_BYTES = 50
_LIVE = 1
_MAX_HEADER_BYTES = 2**24


def plan_asf(stream: BinaryIO, start: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    """The plan of a WMA file. Raises SchedError INVALID_AUDIO."""
    del limits
    header_size = struct.unpack("<Q", bytes_at(stream, start + 16, 8).ljust(8, b"\0"))[0]
    data_start = start + header_size
    data = bytes_at(stream, data_start, _OBJECT_BYTES)
    if not data.startswith(_DATA) or header_size > _MAX_HEADER_BYTES:
        raise empty(name)
    plan = Plan(container="asf", parts=[Part(stream=Window(stream, start, n_bytes - start), demuxer="asf")])
    header = bytes_at(stream, start, header_size)
    at = header.find(_PROPERTIES)
    properties = header[at : at + 104] if at >= 0 else b""
    if len(properties) < 104:  # noqa: PLR2004  the object's length
        plan.cut = "lacks the description of the file in its header, it is damaged"
        return plan
    n_packets = struct.unpack("<Q", properties[56:64])[0]
    flags, packet_size = struct.unpack("<II", properties[88:96])
    n_there = n_bytes - data_start - _DATA_HEAD_BYTES
    if flags & _LIVE:
        plan.notes.append("its header does not say how long it is; it was read to its end")
        if packet_size and n_there % packet_size:
            plan.cut = "ends in the middle of a packet, it was cut off"
    elif n_packets * packet_size > n_there:
        plan.cut = f"claims {n_packets * packet_size} bytes in its header but has {n_there}, it was cut off or damaged"
    else:
        plan.end = _end(stream, data_start + _DATA_HEAD_BYTES + n_packets * packet_size, n_bytes)
        plan.parts = [Part(stream=Window(stream, start, plan.end - start), demuxer="asf")]
        if plan.end < n_bytes and not begins_file(stream, plan.end, n_bytes):
            plan.cut = f"has {n_bytes - plan.end} bytes behind its end that belong to none, it is damaged"
    return plan


def _end(stream: BinaryIO, at: int, n_bytes: int) -> int:
    """Where the indexes end that follow the audio."""
    while at < n_bytes and (head := bytes_at(stream, at, _OBJECT_BYTES)).startswith(_INDEXES):
        at += max(_OBJECT_BYTES, int.from_bytes(head[16:], "little"))
    return min(at, n_bytes)
