"""The regression guard: what a job costs in calls, commits, objects and copies, with one and with 64 in flight."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import redis

import ray_sched
from ray_sched.agent.engine import EngineResult, Isolation, Work
from ray_sched.client.client import Client
from ray_sched.client.options import ClientOptions
from ray_sched.core.capability import Capability
from ray_sched.core.ports import SaveJob
from ray_sched.settings import ClientRules, StoreRules
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.system.store_stats import object_store_history
from ray_sched.wire.peers import Payload, Peer
from ray_sched.wire.samples import Samples
from tests.budgets.budgets import BUDGETS, Budget
from tests.support.cluster import RunningCluster, echo_node
from tests.support.in_process import InProcess, MemoryObjectStore, Network

N_NODES = 4
JOBS = {1: 100, 64: 1_280}
BY_THE_CLOCK = {"beat"}
OBJECT_OVERHEAD = 0.5
"""Ray writes a header of about 1 KB beside the arrays of an object; the audio here is 3.2 KB."""
AUDIO = [np.full(1_600, number, np.int16) for number in range(64)]


class Counted:
    """What has been counted so far."""

    def __init__(self) -> None:
        self.puts = 0
        self.put_bytes = 0
        self.copied_bytes = 0
        self.lock = threading.Lock()


class CountingObjectStore(MemoryObjectStore):
    """Counts objects and bytes, and those that are not the submitter's own memory any more."""

    def __init__(self, counted: Counted) -> None:
        self.counted = counted

    def put(self, payloads: Sequence[Payload]) -> Any:
        self.counted.puts += 1
        for payload in payloads:
            self.counted.put_bytes += payload.nbytes
            if not any(np.shares_memory(payload, audio) for audio in AUDIO):
                self.counted.copied_bytes += payload.nbytes
        return super().put(payloads)


class CountingNetwork:
    """Counts the audio that was copied into calls."""

    def __init__(self, network: Network, counted: Counted) -> None:
        self._network = network
        self.counted = counted

    def peer(self, actor: str) -> Peer:
        return CountingPeer(self._network.peer(actor), self)


class CountingPeer:
    def __init__(self, peer: Peer, network: CountingNetwork) -> None:
        self._peer = peer
        self._network = network

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        if method == "push":
            self._network.counted.copied_bytes += sum(len(part) for part in args[1:] if isinstance(part, bytes))
        return await self._peer.call(method, *args, timeout_s=timeout_s)


class CountingEngine:
    """Counts the audio that was copied on its way from the store to here."""

    isolation: ClassVar[Isolation] = "thread"
    counted: ClassVar[Counted]

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        del options
        self._declared = declared

    def capability(self) -> Capability:
        return self._declared

    def load(self) -> None:
        pass

    def admit(self, work: Work) -> str | None:
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del work, emit_partial
        if not any(np.shares_memory(audio, one) for one in AUDIO):
            with self.counted.lock:  # slots are threads
                self.counted.copied_bytes += audio.nbytes
        return EngineResult(text="counted")


async def run_jobs(client: Client, in_flight: int, n_jobs: int) -> None:
    """Keep so many in flight until so many are done."""
    numbers = iter(range(n_jobs))

    async def worker() -> None:
        for number in numbers:
            await client.submit(AUDIO[number % len(AUDIO)], src="en", copy=False)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def cost_of_a_job(in_flight: int, inline_bytes: int) -> Budget:
    """What a job really costs, with everything in one process."""
    n_jobs = JOBS[in_flight]
    async with InProcess() as system:
        for number in range(N_NODES):
            await system.add_node(f"node-{number}", slots=16, engine=f"{__name__}.CountingEngine")
        CountingEngine.counted = Counted()
        object_store = CountingObjectStore(CountingEngine.counted)
        network = CountingNetwork(system.network, CountingEngine.counted)
        async with Client(network, object_store, ClientOptions(inline_bytes=inline_bytes)) as client:
            await run_jobs(client, in_flight, in_flight)
            CountingEngine.counted = object_store.counted = network.counted = counted = (
                Counted()
            )  # the warm-up does not count
            system.store.commits.clear()
            system.network.calls.clear()
            await run_jobs(client, in_flight, n_jobs)
            calls = sum(n for method, n in system.network.calls.items() if method not in BY_THE_CLOCK)
        audio_bytes = n_jobs * AUDIO[0].nbytes
        saves = [change for commit in system.store.commits for change in commit if isinstance(change, SaveJob)]
        return Budget(
            calls=calls / n_jobs,
            commits=len(system.store.commits) / n_jobs,
            puts=counted.puts / n_jobs,
            put_bytes=counted.put_bytes / audio_bytes,
            copied_bytes=counted.copied_bytes / audio_bytes,
            saves=len(saves) / n_jobs,
        )


@pytest.mark.parametrize(("in_flight", "inline_bytes"), BUDGETS)
async def test_a_job_costs_no_more_than_its_budget(in_flight: int, inline_bytes: int) -> None:
    budget, cost = BUDGETS[in_flight, inline_bytes], await cost_of_a_job(in_flight, inline_bytes)
    too_dear = [name for name in Budget.__struct_fields__ if getattr(cost, name) > getattr(budget, name)]
    assert too_dear == [], cost


@pytest.mark.cluster
def test_redis_and_the_object_store_count_the_same_on_a_real_cluster(tmp_path: Path) -> None:
    with EmbeddedRedis().start(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as peek:
        rules = StoreRules(redis_url=server.url)
        with RunningCluster([echo_node("one", slots=64)], tmp_path, store=rules) as cluster:
            for (in_flight, inline_bytes), budget in BUDGETS.items():
                cost = cluster.run(cost_on_a_cluster(cluster, peek, in_flight, inline_bytes))
                assert cost["commits"] <= budget.commits, (in_flight, inline_bytes)
                assert cost["puts"] <= budget.puts, (in_flight, inline_bytes)
                most = budget.put_bytes and budget.put_bytes + OBJECT_OVERHEAD
                assert budget.put_bytes <= cost["put_bytes"] <= most, (in_flight, inline_bytes)


async def cost_on_a_cluster(
    cluster: RunningCluster, peek: "redis.Redis", in_flight: int, inline_bytes: int
) -> dict[str, float]:
    """What Redis and Ray say themselves; on one node, where no object is copied to another one's store."""
    n_jobs = JOBS[in_flight]
    settings = cluster.settings.model_copy(update={"client": ClientRules(inline_bytes=inline_bytes)})
    async with ray_sched.Client(settings) as client:
        await run_jobs(client, in_flight, in_flight)
        commits, stored = n_commits(peek), object_store_history()
        await run_jobs(client, in_flight, n_jobs)
        now = object_store_history()
        return {
            "commits": (n_commits(peek) - commits) / n_jobs,
            "puts": (now.created_objects - stored.created_objects) / n_jobs,
            "put_bytes": (now.created_bytes - stored.created_bytes) / n_jobs / AUDIO[0].nbytes,
        }


def n_commits(peek: "redis.Redis") -> int:
    """Transactions since the server was started."""
    return int(peek.info("commandstats").get("cmdstat_exec", {}).get("calls", 0))
