"""From an open file to the plan of its decoding: what kind it is, and what its container says against what is there."""

import math
from collections.abc import Callable
from typing import BinaryIO

from ray_sched.audio.amr import plan_amr
from ray_sched.audio.asf import plan_asf
from ray_sched.audio.chunked import plan_aiff, plan_au, plan_caf, plan_w64
from ray_sched.audio.flac import plan_flac
from ray_sched.audio.joined import begins_file
from ray_sched.audio.matroska import plan_matroska
from ray_sched.audio.mp4 import plan_mp4
from ray_sched.audio.mpeg import plan_mpeg
from ray_sched.audio.ogg import plan_ogg
from ray_sched.audio.pcm import Pcm
from ray_sched.audio.plan import Plan
from ray_sched.audio.refusals import check_duration, invalid
from ray_sched.audio.report import Limits, RawFormat
from ray_sched.audio.riff import plan_riff
from ray_sched.audio.sniff import begin
from ray_sched.audio.transport import plan_avi, plan_flv, plan_program, plan_transport
from ray_sched.audio.window import Window, size_of

_MAX_JOINED = 1_000

_Planner = Callable[[BinaryIO, int, int, str, Limits], Plan]


def checked_plan(
    stream: BinaryIO, name: str, limits: Limits, *, raw: RawFormat | None = None, allow_partial: bool = False
) -> Plan:
    """How an audio will be decoded. Raises SchedError INVALID_AUDIO for what is refused, as far as headers tell."""
    plan = _raw(stream, name, limits, raw) if raw else _planned(stream, name, limits)
    if plan.duration_s is not None:
        check_duration(math.ceil(plan.duration_s * 1000), 1000, name, limits.max_duration_s)
    if plan.cut and not allow_partial:
        raise invalid(f"{name} {plan.cut}; copy it again, or take what is there with allow_partial")
    return plan


def _planned(stream: BinaryIO, name: str, limits: Limits) -> Plan:
    n_bytes = size_of(stream)
    plan = _planned_at(stream, 0, n_bytes, name, limits)
    n_files = 1
    while plan.end is not None and begins_file(stream, plan.end, n_bytes):
        plan.join(_planned_at(stream, plan.end, n_bytes, name, limits))
        n_files += 1
        if n_files > _MAX_JOINED:
            raise invalid(f"{name} is more than {_MAX_JOINED} joined files; give them one by one")
    if n_files > 1:
        plan.notes.append(f"it is {n_files} joined files; all of them were read")
    return plan


def _planned_at(stream: BinaryIO, at: int, n_bytes: int, name: str, limits: Limits) -> Plan:
    kind, start = begin(stream, at, n_bytes, name)
    plan = _PLANNERS[kind](stream, start, n_bytes, name, limits)
    if start > at and kind != "mpeg-audio":
        plan.notes.append(f"{start - at} bytes before its header are no audio and were left out")
    return plan


def _raw(stream: BinaryIO, name: str, limits: Limits, raw: RawFormat) -> Plan:
    n_bytes = size_of(stream)
    if n_bytes == 0:
        raise invalid(f"{name} is empty; give at least one sample")
    pcm = Pcm(sample_format=raw.encoding, width=2 if raw.encoding == "s16le" else 1, rate_hz=raw.rate_hz, channels=1)
    part = pcm.part(Window(stream, 0, n_bytes), n_bytes, name, limits)
    is_odd = n_bytes % pcm.width != 0
    cut = f"has {n_bytes} bytes, an odd number, and raw samples have 16 bits each" if is_odd else None
    plan = Plan(container="raw", parts=[], cut=cut)
    plan.add(part)
    return plan


_PLANNERS: dict[str, _Planner] = {
    "riff": plan_riff,
    "w64": plan_w64,
    "aiff": plan_aiff,
    "caf": plan_caf,
    "au": plan_au,
    "flac": plan_flac,
    "ogg": plan_ogg,
    "mpeg-audio": plan_mpeg,
    "mp4": plan_mp4,
    "matroska": plan_matroska,
    "asf": plan_asf,
    "amr": plan_amr,
    "avi": plan_avi,
    "flv": plan_flv,
    "mpeg": plan_program,
    "mpegts": plan_transport,
}
