"""Contestants on one cluster, measured in turn: one run of each, then again, so that a slow minute hits them all."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from ray_sched.bench.load import Audio, Supply
from ray_sched.bench.processes import PeakMemory, Processes, cpu_s, spent_s
from ray_sched.bench.report import Run, percentile
from ray_sched.system.store_stats import object_store_stats

Say = Callable[[str], None]
"""Told each step."""
Drive = Callable[[Supply], Awaitable[None]]


class Contestant(Protocol):
    """One way to have jobs done."""

    name: str
    titles: tuple[str, ...]
    """How the titles of the processes begin that are there for it alone."""
    note: str
    """What it is, in one line."""

    async def start(self) -> None:
        """Start what it needs."""
        ...

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """Keep so many jobs in flight until the supply ends."""
        ...

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """Submit so many a second until the supply ends. Raises NotImplementedError where it cannot."""
        ...

    async def stop(self) -> None:
        """End what was started."""
        ...


class Length(Struct, frozen=True, kw_only=True):
    """How long one run is."""

    jobs: int = 0
    """This many jobs; 0: as many as there is time for."""
    seconds: float = 3.0


class Contest:
    """Measures contestants that have started."""

    def __init__(
        self,
        contestants: Sequence[Contestant],
        audio: Audio,
        say: Say,
        *,
        store_bytes: Callable[[], int] = lambda: object_store_stats().bytes_used,
        warm_up_s: float = 1.0,
    ) -> None:
        """``store_bytes``: what the object stores hold now; asked four times a second while a run lasts."""
        self._contestants = contestants
        self._audio = audio
        self._say = say
        self._store_bytes = store_bytes
        self._warm_up_s = warm_up_s
        self._processes = Processes({one.name: one.titles for one in contestants})

    async def closed(self, in_flight: int, n_runs: int, length: Length) -> dict[str, list[Run]]:
        """So many runs of each with this many jobs in flight, after a warm-up that nobody counts."""
        for one in self._contestants:
            await one.closed(Supply(self._audio, jobs=0, seconds=self._warm_up_s), in_flight)
        runs: dict[str, list[Run]] = {one.name: [] for one in self._contestants}
        for number, one in self._turns(n_runs):
            run = await self._measure(one, length, partial(one.closed, in_flight=in_flight))
            self._say(f"{one.name}, {in_flight} in flight, run {number}: {run.jobs_per_s:.0f} jobs/s")
            runs[one.name].append(run)
        return runs

    async def open_loop(self, per_s: dict[str, float], n_runs: int, length: Length) -> dict[str, list[Run]]:
        """So many runs of each with jobs that arrive at random, so many a second; those that cannot are left out."""
        runs: dict[str, list[Run]] = {}
        for number, one in self._turns(n_runs):
            try:
                run = await self._measure(one, length, partial(one.open_loop, per_s=per_s[one.name]))
            except NotImplementedError:
                continue
            self._say(f"{one.name}, {per_s[one.name]:.0f} jobs/s, run {number}: p99 {run.p99_ms:.1f} ms")
            runs.setdefault(one.name, []).append(run)
        return runs

    def _turns(self, n_runs: int) -> list[tuple[int, Contestant]]:
        """Every second round goes the other way, so that nobody always follows the same one."""
        return [
            (number + 1, one)
            for number in range(n_runs)
            for one in (self._contestants if number % 2 == 0 else reversed(self._contestants))
        ]

    async def _measure(self, one: Contestant, length: Length, drive: Drive) -> Run:
        processes = self._processes.of(one.name)
        with PeakMemory(processes, self._store_bytes) as peak:
            before = cpu_s(processes)
            supply = Supply(self._audio, jobs=length.jobs, seconds=length.seconds)
            await drive(supply)
            after = cpu_s(self._processes.of(one.name))
        took_ms = sorted(supply.took_ms)
        return Run(
            jobs=len(took_ms),
            jobs_per_s=round(len(took_ms) / supply.took_s, 1),
            p50_ms=round(percentile(took_ms, 50), 3),
            p99_ms=round(percentile(took_ms, 99), 3),
            p999_ms=round(percentile(took_ms, 99.9), 3),
            cpu_ms_per_job=round(spent_s(before, after) * 1000 / len(took_ms), 3),
            peak_rss_mb=round(peak.rss_mb, 1),
            object_store_peak_mb=round(peak.store_mb, 2),
        )
