"""A bare batched reserve-and-push: what the scheduler would be without its ledger, order, store, leases and fences.

Slots are reserved at one actor, the audio of all jobs for one agent goes there in one object and one call, and the
results are what that call returns. Nothing here survives the loss of anything.
"""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import ray

from ray_sched.bench.load import Awaited
from ray_sched.bench.rivals.places import Place, on_node
from ray_sched.bench.rivals.plain import echo
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.samples import Samples

_MAX_BATCH = 64
_QUIET = {"num_cpus": 0, "enable_task_events": False}


class RawSlots:
    """The one actor that knows how much is under way at each agent."""

    def __init__(self, n_agents: int) -> None:
        self._busy = [0] * n_agents

    def reserve(self, n_slots: int, released: dict[int, int]) -> list[int]:
        """So many slots, each at the agent with the least to do; after releasing those that are free again."""
        for agent, n_released in released.items():
            self._busy[agent] -= n_released
        chosen = []
        for _ in range(n_slots):
            agent = min(range(len(self._busy)), key=self._busy.__getitem__)
            self._busy[agent] += 1
            chosen.append(agent)
        return chosen


class RawAgent:
    """Runs what is pushed to it."""

    def push(self, sizes: list[int], stored: list[Any]) -> list[str]:
        """Take the audio of several jobs out of one object and run them."""
        audio = ray.get(stored[0])
        return [echo(part) for part in np.split(audio, np.cumsum(sizes)[:-1])]


class RawRival(Awaited):
    """See the module."""

    name = "raw"
    note = "a bare batched reserve-and-push, one put per batch; no order, no ledger, no store, no recovery"

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._slots: Any = None
        self._agents: list[Any] = []
        self._reserving: Outbox[Samples, int] = Outbox(self._reserve, max_batch=_MAX_BATCH)
        self._pushing: list[Outbox[Samples, str]] = []
        self._released: Counter[int] = Counter()

    async def start(self) -> None:
        """The slots beside the submitter, an agent on each place."""
        slots, agent = ray.remote(RawSlots), ray.remote(RawAgent)
        here = on_node(ray.get_runtime_context().get_node_id())
        self._slots = slots.options(scheduling_strategy=here, **_QUIET).remote(len(self._places))
        self._agents = [agent.options(scheduling_strategy=on_node(p), **_QUIET).remote() for p in self._places]
        await asyncio.gather(*(one.__ray_ready__.remote() for one in [self._slots, *self._agents]))
        self._pushing = [self._outbox(number) for number in range(len(self._agents))]

    def _outbox(self, agent: int) -> Outbox[Samples, str]:
        return Outbox(lambda batch: self._push(agent, batch), max_batch=_MAX_BATCH)

    async def echo(self, audio: Samples) -> str:
        """Batches form by themselves while a call is under way."""
        agent = await self._reserving.ask(audio)
        text = await self._pushing[agent].ask(audio)
        self._released[agent] += 1
        return text

    async def _reserve(self, batch: list[Samples]) -> list[int]:
        released, self._released = dict(self._released), Counter()
        agents: list[int] = await self._slots.reserve.remote(len(batch), released)
        return agents

    async def _push(self, agent: int, batch: list[Samples]) -> list[str]:
        audio = batch[0] if len(batch) == 1 else np.concatenate(batch)
        texts: list[str] = await self._agents[agent].push.remote([len(one) for one in batch], [ray.put(audio)])
        return texts

    async def stop(self) -> None:
        """Drop the actors."""
        await self._reserving.close()
        for outbox in self._pushing:
            await outbox.close()
        self._slots, self._agents = None, []
