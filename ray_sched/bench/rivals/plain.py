"""Plain Ray: an ``ActorPool`` and tasks, as in the examples of their documentation."""

import asyncio
import time
from typing import Any

import numpy as np
import ray
from ray.util import ActorPool

from ray_sched.bench.load import Awaited, Supply
from ray_sched.bench.rivals.places import Place, on_node
from ray_sched.wire.samples import Samples


def echo(audio: Samples) -> str:
    """The work of every contestant: a copy of the audio, and a short text."""
    return f"echo of {len(np.array(audio, copy=True))} samples"


class RivalEcho:
    """An actor of the pool."""

    def echo(self, item: tuple[int, Samples]) -> tuple[int, str]:
        """See ``echo``; the number identifies the result for the submitter."""
        number, audio = item
        return number, echo(audio)


class ActorPoolRival:
    """``ray.util.ActorPool``: submits as long as fewer than ``in_flight`` are under way, takes results as they come."""

    name = "actorpool"
    note = "ray.util.ActorPool, get_next_unordered; one call at a time to each actor, the others wait in the pool"

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._pool: Any = None

    async def start(self) -> None:
        """One actor on each place."""
        actor = ray.remote(RivalEcho)
        actors = [actor.options(num_cpus=0, scheduling_strategy=on_node(place)).remote() for place in self._places]
        await asyncio.gather(*(one.__ray_ready__.remote() for one in actors))
        self._pool = ActorPool(actors)

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """The pool blocks, so it has a thread."""
        await asyncio.to_thread(self._drive, supply, in_flight)

    def _drive(self, supply: Supply, in_flight: int) -> None:
        began_s: dict[int, float] = {}
        number = 0
        while True:
            while len(began_s) < in_flight and (audio := supply.take()) is not None:
                number += 1
                began_s[number] = time.perf_counter()
                self._pool.submit(_call, (number, audio))
            if not began_s:
                return
            done, text = self._pool.get_next_unordered()
            supply.done(began_s.pop(done), text)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """The pool blocks until a result comes; it cannot submit on time meanwhile."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Drop the actors."""
        self._pool = None


def _call(actor: Any, item: tuple[int, Samples]) -> Any:
    return actor.echo.remote(item)


class TasksRival(Awaited):
    """A remote function; Ray finds the place."""

    name = "tasks"
    note = "ray.remote function, num_cpus=1, Ray's default placement"

    def __init__(self, places: list[Place]) -> None:
        del places
        self._function: Any = None

    async def start(self) -> None:
        """Ray starts workers when they are needed."""
        self._function = ray.remote(echo)

    async def echo(self, audio: Samples) -> str:
        """One awaited reference."""
        text: str = await self._function.remote(audio)
        return text

    async def stop(self) -> None:
        """Ray keeps its idle workers for a while."""
