"""The load of a benchmark: distinct utterances, as many as fit into a time or a fixed number, and what each took.

Closed: a number of jobs is in flight at any time. Open: jobs come at random times of their own, and a job's time
counts from when it should have been submitted, so a contestant that falls behind cannot hide it.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol

import numpy as np

from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

Echo = Callable[[Samples], Awaitable[str]]
"""One job: the audio is copied where the work is done, and a short text comes back."""

_DISTINCT = 1024
"""Utterances that differ: more than are ever in flight, so nothing can send one object for two jobs."""
_SEED = 7


class WrongEchoError(Exception):
    """A contestant gave something else back than was asked for: its numbers would mean nothing."""


def samples_of(audio_s: float) -> int:
    """How many samples an utterance has."""
    return max(round(audio_s * SAMPLE_RATE_HZ), 1)


def bytes_of(audio_s: float) -> int:
    """How long an utterance is as 16-bit samples."""
    return samples_of(audio_s) * np.dtype(np.int16).itemsize


class Utterances(Protocol):
    """What is recognised, and what has to come back."""

    def __getitem__(self, number: int) -> Samples:
        """The utterance of this number, from 1."""
        ...

    def check(self, text: str) -> None:
        """Look at what came back. Raises WrongEchoError if it cannot be right."""
        ...


class Audio:
    """Distinct utterances of one length, made before anything is measured."""

    def __init__(self, audio_s: float) -> None:
        n_samples = samples_of(audio_s)
        noise = np.random.default_rng(_SEED).integers(-3_000, 3_000, n_samples + _DISTINCT, dtype=np.int16)
        self._utterances = [np.array(noise[n : n + n_samples]) for n in range(_DISTINCT)]
        self.text = f"echo of {n_samples} samples"

    def __getitem__(self, number: int) -> Samples:
        return self._utterances[number % _DISTINCT]

    def check(self, text: str) -> None:
        """Raises WrongEchoError unless it is the echo."""
        if text != self.text:
            raise WrongEchoError(f"{text!r} came back instead of {self.text!r}")


class Supply:
    """Hands out utterances until the number or the time is used up, and notes how long each took."""

    def __init__(self, audio: Utterances, *, jobs: int, seconds: float) -> None:
        """``jobs``: this many, whatever time they take; 0: as many as are handed out in ``seconds``."""
        self._audio = audio
        self._jobs = jobs
        self._seconds = seconds
        self._given = 0
        self._began_s = time.perf_counter()
        self._ended_s = self._began_s
        self.took_ms: list[float] = []
        self.n_samples = 0
        """Of all that was handed out."""

    def take(self) -> Samples | None:
        """The next utterance, or None when there are no more."""
        if self._given >= self._jobs if self._jobs else time.perf_counter() - self._began_s >= self._seconds:
            return None
        self._given += 1
        audio = self._audio[self._given]
        self.n_samples += len(audio)
        return audio

    def done(self, began_s: float, text: str) -> None:
        """A job that began then (``time.perf_counter``) has come back with this text."""
        self._ended_s = time.perf_counter()
        self.took_ms.append((self._ended_s - began_s) * 1000)
        self._audio.check(text)

    @property
    def took_s(self) -> float:
        """From the first utterance to the last result."""
        return self._ended_s - self._began_s


async def closed(echo: Echo, supply: Supply, in_flight: int) -> None:
    """Keep this many jobs in flight until the supply ends."""

    async def worker() -> None:
        while (audio := supply.take()) is not None:
            began_s = time.perf_counter()
            supply.done(began_s, await echo(audio))

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def open_loop(echo: Echo, supply: Supply, per_s: float) -> None:
    """Submit at random times, this many a second on average, whether the ones before are done or not."""
    chance = random.Random(_SEED)  # noqa: S311  # arrivals that can be repeated
    due_s = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()

    async def one(audio: Samples, began_s: float) -> None:
        supply.done(began_s, await echo(audio))

    while (audio := supply.take()) is not None:
        due_s += chance.expovariate(per_s)
        await asyncio.sleep(max(due_s - time.perf_counter(), 0))
        task = asyncio.create_task(one(audio, due_s))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


class Awaited(ABC):
    """A contestant whose every job is awaited by itself."""

    @abstractmethod
    async def echo(self, audio: Samples) -> str:
        """One job, from submit to result."""

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """See ``Contestant``."""
        await closed(self.echo, supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """See ``Contestant``."""
        await open_loop(self.echo, supply, per_s)
