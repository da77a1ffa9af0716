"""Added latency: what one utterance costs on an idle cluster, beyond the work itself.

The engine is ``echo`` without a speed, so it takes no time; from ``submit`` until the result is in the caller's hands
everything that passes is ours or Ray's.
"""

import asyncio
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from msgspec import Struct

from ray_sched.settings import Settings, StoreRules
from ray_sched.system.local import LocalNode
from ray_sched.system.running import running

_WARM_UP = 30
_SLOTS = 4
_NEVER = 101.0


class Percentiles(Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50: float
    p99: float


class LatencyReport(Struct, frozen=True, kw_only=True):
    """What ``bench latency --json`` prints."""

    added_ms: Percentiles
    """From submit to result, one utterance at a time."""
    jobs: int
    audio_bytes: int
    """Of each utterance: 16 kHz mono 16-bit samples."""
    nodes: int
    machine: str
    versions: dict[str, str]


async def measure_latency(settings: Settings, n_jobs: int, audio_s: float, n_nodes: int) -> LatencyReport:
    """Submit utterances one after the other to an idle local cluster and take the time of each."""
    audio = np.zeros(round(audio_s * 16_000), np.int16)
    labels = {"engine": "echo", "asr": "en", "slots": str(_SLOTS)}
    nodes = [LocalNode(labels=labels | {"node": f"node-{n + 1}"}) for n in range(n_nodes)]
    with tempfile.TemporaryDirectory(prefix="ray_sched-bench-") as home:
        own = settings.model_copy(
            update={
                "address": "",
                "data_dir": Path(home),
                "store": StoreRules(),
                "pools": replace(settings.pools, cpu_threshold_percent=_NEVER, memory_threshold_percent=_NEVER),
            }
        )
        async with running(own, local_nodes=nodes, is_head_a_node=True, drain_s=0) as scheduler:
            await scheduler.wait_for_nodes(n_nodes)
            took_ms = await _submit_one_by_one(own, audio, n_jobs)
    return LatencyReport(
        added_ms=_percentiles(took_ms),
        jobs=n_jobs,
        audio_bytes=audio.nbytes,
        nodes=n_nodes,
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        versions={"python": platform.python_version(), "ray": version("ray"), "ray-sched": version("ray-sched")},
    )


async def _submit_one_by_one(
    settings: Settings, audio: "np.ndarray[tuple[int], np.dtype[np.int16]]", n_jobs: int
) -> list[float]:
    from ray_sched.system.api import Client  # noqa: PLC0415  # imports Ray, which reads its environment then

    took_ms = []
    async with Client(settings) as client:
        for number in range(_WARM_UP + n_jobs):
            began = time.perf_counter()
            await client.submit(audio, src="en")
            if number >= _WARM_UP:
                took_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0)
    return took_ms


def _percentiles(took_ms: list[float]) -> Percentiles:
    cuts = statistics.quantiles(took_ms, n=100, method="inclusive")
    return Percentiles(p50=round(statistics.median(took_ms), 3), p99=round(cuts[98], 3))
