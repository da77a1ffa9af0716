"""The same load three ways: what is kept of it, for how long, and what that costs.

The ancestor kept the audio of a job with the job and never removed a job; later it removed finished jobs, and their
audio with them. Both are done here for real: a wrapper around the client puts a copy of each utterance into the object
store and keeps it as the ancestor did, and clean-up is off in the first way. Ours is the client as it is.

The load: a burst of utterances of 1 to 10 s, then a steady hour, made short by shortening the times of clean-up alike.
"""

import asyncio
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.environment import EnvironmentPlan, isolated_scheduler
from ray_sched.bench.growth import Growth, measure_growth
from ray_sched.bench.processes import rss_bytes
from ray_sched.bench.report import Setting, this_setting
from ray_sched.client.client import Client
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.settings import Settings
from ray_sched.system.start import Scheduler
from ray_sched.system.store_stats import object_store_stats
from ray_sched.wire.samples import Samples

_MB = 2**20
_HOUR_S = 3_600
_NEVER_MS = 10**12
_SAMPLE_S = 0.5
_IN_FLIGHT = 64
_MIN_AUDIO_S, _MAX_AUDIO_S = 1, 10
_STORE_MB = 3_072
_SEED = 11

FOR_EVER, WITH_THE_JOB, OWN = "for ever", "with the job", "ray_sched"
WAYS = (FOR_EVER, WITH_THE_JOB, OWN)


class MemoryPlan(Struct, frozen=True, kw_only=True):
    """What to measure."""

    burst: int = 1_000
    """Utterances at the beginning, 64 in flight."""
    hour_s: float = 60.0
    """Seconds into which the steady hour and the times of clean-up are compressed; 0: no hour, only the growth run."""
    per_s: float = 20.0
    """Utterances a second in it."""
    nodes: int = 2
    growth_jobs: int = 0
    """Jobs of the growth run; 0: none."""


class Sample(Struct, frozen=True, kw_only=True):
    """One moment."""

    at_s: float
    audio_mb: float
    """Audio held for jobs: by the submitter, in the object store, and with jobs that have ended."""
    store_mb: float
    """The object stores, by Ray's own figures."""
    jobs: int
    """Job objects in the Dispatcher."""
    dispatcher_mb: float
    """Its resident memory."""


class Way(Struct, frozen=True, kw_only=True):
    """One way's figures; the means are of the second half of the steady hour."""

    jobs_done: int
    audio_mb: float
    store_mb: float
    jobs: float
    dispatcher_mb: float
    samples: list[Sample]


class MemoryReport(Struct, frozen=True, kw_only=True):
    """What ``bench memory --json`` prints."""

    setting: Setting
    keep_s: float
    """Finished jobs are kept for so long in the compressed hour."""
    expected_jobs: float
    """Rate times the time a finished job is kept, and half of what the clean-up has not come to yet."""
    ways: dict[str, Way]
    audio_saved_percent: dict[str, float]
    """What the scheduler holds less than the other ways."""
    growth: Growth | None


class Keeper:
    """Keeps the audio of each job with the job: in the object store, until the job is forgotten."""

    def __init__(self, client: Client, put: Callable[[list[Any]], Any], keep_s: float) -> None:
        self._client = client
        self._put = put
        self._keep_s = keep_s
        self._kept: deque[tuple[float, int, Any]] = deque()
        self.n_bytes = 0

    async def submit(self, audio: Samples) -> None:
        """As the client, but the audio stays."""
        stored = self._put([audio])
        self.n_bytes += audio.nbytes
        try:
            await self._client.submit(audio, src="en")
        finally:
            self._kept.append((time.monotonic(), audio.nbytes, stored))

    def clean_up(self) -> None:
        """Let go of what ended long enough ago."""
        while self._kept and self._kept[0][0] <= time.monotonic() - self._keep_s:
            self.n_bytes -= self._kept.popleft()[1]


class Plain:
    """The client as it is: it keeps nothing of its own."""

    n_bytes = 0

    def __init__(self, client: Client) -> None:
        self._client = client

    async def submit(self, audio: Samples) -> None:
        """Submit and wait for the result."""
        await self._client.submit(audio, src="en")

    def clean_up(self) -> None:
        """Nothing is kept."""


async def measure_memory(settings: Settings, plan: MemoryPlan, notify: Notify) -> MemoryReport:
    """The growth over many jobs while this process is small, then the three ways; as far as the plan asks for them."""
    setting = this_setting()
    growth = await measure_growth(plan.growth_jobs, notify) if plan.growth_jobs else None
    ways = {name: await _measure_way(settings, plan, name, notify) for name in WAYS} if plan.hour_s else {}
    keep, every = keep_s(settings, plan), clean_every_s(settings, plan)
    return MemoryReport(
        setting=setting,
        keep_s=keep,
        expected_jobs=round(plan.per_s * (keep + every / 2), 1),
        ways=ways,
        audio_saved_percent={
            name: round(100 * (1 - ways[OWN].audio_mb / way.audio_mb), 2)
            for name, way in ways.items()
            if name != OWN and way.audio_mb
        },
        growth=growth,
    )


def keep_s(settings: Settings, plan: MemoryPlan) -> float:
    """How long a finished job is kept in the compressed hour."""
    return settings.cleanup.keep_ms / 1000 * plan.hour_s / _HOUR_S


def clean_every_s(settings: Settings, plan: MemoryPlan) -> float:
    """How often clean-up comes in the compressed hour."""
    return settings.cleanup.every_ms / 1000 * plan.hour_s / _HOUR_S


async def _measure_way(settings: Settings, plan: MemoryPlan, name: str, notify: Notify) -> Way:
    keep = keep_s(settings, plan)
    every_ms = max(round(clean_every_s(settings, plan) * 1000), 1)
    cleanup = replace(
        settings.cleanup,
        keep_ms=_NEVER_MS if name == FOR_EVER else round(keep * 1000),
        every_ms=every_ms,
    )
    where = EnvironmentPlan(nodes=plan.nodes, slots=_IN_FLIGHT // plan.nodes, object_store_mb=_STORE_MB)
    async with isolated_scheduler(settings.model_copy(update={"cleanup": cleanup}), where, notify) as (scheduler, own):
        client = own.client
        from ray_sched.system.ray_peers import RayObjectStore  # noqa: PLC0415  # imports Ray, whose environment is ready now

        keep_audio_s = {FOR_EVER: float("inf"), WITH_THE_JOB: keep}
        kept = Plain(client) if name == OWN else Keeper(client, RayObjectStore().put, keep_audio_s[name])
        watch = _Watch(scheduler, client, kept)
        watching = asyncio.create_task(watch.run(every_ms / 1000))
        notify(f"{name}: {plan.burst} utterances, then the hour in {plan.hour_s:.0f} s")
        try:
            done = await _burst(kept.submit, plan.burst)
            steady_s = watch.now_s()
            done += await _steady(kept.submit, plan)
        finally:
            watch.over.set()
            await watching
        return _way(done, watch.samples, steady_s + (watch.now_s() - steady_s) / 2)


class _Watch:
    """Looks at what is held, twice a second, and lets the keeper clean up when the Dispatcher does."""

    def __init__(self, scheduler: Scheduler, client: Client, kept: Keeper | Plain) -> None:
        self._scheduler = scheduler
        self._client = client
        self._kept = kept
        self._dispatcher = _process_titled("ray::DispatcherProcess")
        self._began_s = time.monotonic()
        self.over = asyncio.Event()
        self.samples: list[Sample] = []

    def now_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    async def run(self, clean_every_s: float) -> None:
        """Until it is over. Never called off half-way: Ray would be asked by a thread after it was stopped."""
        clean_at_s = 0.0
        while not self.over.is_set():
            if self.now_s() >= clean_at_s:
                self._kept.clean_up()
                clean_at_s = self.now_s() + clean_every_s
            self.samples.append(await self._look())
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_SAMPLE_S, clean_every_s)):
                    await self.over.wait()
        self.samples.append(await self._look())

    async def _look(self) -> Sample:
        view = await self._scheduler.status()
        store = await asyncio.to_thread(object_store_stats)
        return Sample(
            at_s=round(self.now_s(), 2),
            audio_mb=round((self._client.ledger.bytes_in() + self._kept.n_bytes) / _MB, 3),
            store_mb=round(store.bytes_used / _MB, 3),
            jobs=sum(view.jobs.values()),
            dispatcher_mb=round(rss_bytes(self._dispatcher) / _MB, 2),
        )


def _process_titled(title: str) -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    return next(one for one in children if (one.cmdline() or [""])[0].startswith(title))


def _utterances() -> Iterable[Samples]:
    """Distinct utterances of 1 to 10 s."""
    chance = random.Random(_SEED)  # noqa: S311  # a load that can be repeated
    while True:
        n_samples = round(chance.uniform(_MIN_AUDIO_S, _MAX_AUDIO_S) * SAMPLE_RATE_HZ)
        yield np.full(n_samples, chance.randrange(1_000), np.int16)


async def _burst(submit: Callable[[Samples], Any], n_jobs: int) -> int:
    utterances = (audio for audio, _ in zip(_utterances(), range(n_jobs), strict=False))

    async def worker() -> None:
        for audio in utterances:
            await submit(audio)

    await asyncio.gather(*(worker() for _ in range(_IN_FLIGHT)))
    return n_jobs


async def _steady(submit: Callable[[Samples], Any], plan: MemoryPlan) -> int:
    began_s = time.monotonic()
    under_way: set[asyncio.Task[None]] = set()
    n_jobs = 0
    for audio in _utterances():
        due_s = n_jobs / plan.per_s
        if due_s >= plan.hour_s:
            break
        await asyncio.sleep(max(began_s + due_s - time.monotonic(), 0))
        task = asyncio.create_task(submit(audio))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        n_jobs += 1
    await asyncio.gather(*under_way)
    return n_jobs


def _way(done: int, samples: list[Sample], from_s: float) -> Way:
    late = [sample for sample in samples if sample.at_s >= from_s] or samples[-1:]

    def mean(of: Callable[[Sample], float]) -> float:
        return round(statistics.fmean(of(sample) for sample in late), 3)

    return Way(
        jobs_done=done,
        audio_mb=mean(lambda sample: sample.audio_mb),
        store_mb=mean(lambda sample: sample.store_mb),
        jobs=mean(lambda sample: sample.jobs),
        dispatcher_mb=mean(lambda sample: sample.dispatcher_mb),
        samples=samples,
    )
