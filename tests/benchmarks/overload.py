"""``python -m tests.benchmarks.overload [--seconds 120] [--factor 3] [--json]``: more than there is capacity for.

No test: a person runs it; a short run of it is part of ``tests/cluster/test_overload.py``.

Four echo nodes. First the capacity is measured by keeping just enough jobs in flight; then a multiple of it is offered
by an open loop that does not wait: a greedy tenant with one greedy session, three modest tenants, some jobs with a
priority, some with a deadline. Told: goodput against capacity, time to a refusal, what each tenant and session got,
how many waited, and the memory of the Dispatcher, the client and the object store while it lasts.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from msgspec import Struct, structs, to_builtins

from ray_sched import Client
from ray_sched.core.errors import Code
from ray_sched.core.rules import CleanupRules, DispatchRules
from ray_sched.system.local import LocalNode
from ray_sched.system.store_stats import object_store_stats
from tests.support.cluster import RunningCluster, echo_node
from tests.support.processes import actor

AUDIO = np.zeros(16_000, np.int16)
N_NODES, SLOTS, SPEED = 4, 4, 5
MAX_WAITING, MAX_WAITING_PER_SESSION = 256, 64
RULES = DispatchRules(max_waiting_jobs=MAX_WAITING, max_waiting_jobs_per_session=MAX_WAITING_PER_SESSION)
CLEANUP = CleanupRules(every_ms=1_000, keep_ms=5_000)
_TENANTS = {"greedy": 6, "modest-1": 1, "modest-2": 1, "modest-3": 1}
"""How many of nine jobs each tenant offers."""
_GREEDY_SESSION = 0.5
"""This part of the greedy tenant's jobs is of one session; every other session has a twentieth of its tenant's."""
_URGENT, _WITH_DEADLINE = 0.05, 0.1
_DEADLINE_S = 1.0
_PRIORITY = 5
_NAP_S = 0.01


class Offer(Struct, frozen=True):
    """One job of the load."""

    tenant: str
    session: str
    priority: int
    deadline_s: float | None


class Ended(Struct, frozen=True):
    """What became of an offer: no more than is counted, so that the client's memory is its own."""

    offer: Offer
    code: str
    """Of its error; empty for a completed job."""
    retry_after_ms: int
    wait_ms: int
    took_ms: float
    """From submit to result or refusal."""

    @property
    def is_refused(self) -> bool:
        """Never taken, because others wait already."""
        return self.code == Code.OVERLOADED


class Sample(Struct, frozen=True, kw_only=True):
    """How it was at one moment of the load."""

    waiting: int
    dispatcher_mb: float
    client_mb: float
    object_store_mb: float


class Report(Struct, frozen=True, kw_only=True):
    """What is printed."""

    seconds: float
    capacity_per_s: float
    offered: int
    offered_per_s: float
    completed: int
    goodput_per_s: float
    goodput_of_capacity: float
    refused: int
    refused_without_retry_after: int
    failed: dict[str, int]
    """Taken, but without a result, by code."""
    refusal_ms_p50: float
    refusal_ms_p99: float
    own_lag_ms_p99: float
    """How late this process's own event loop was, whatever it waited for: no time above is better than the machine."""
    machine_load: float
    """Runnable processes for each core, averaged over a minute, at the end."""
    waiting_most: int
    waiting_bound: int
    completed_by_tenant: dict[str, int]
    offered_by_tenant: dict[str, int]
    completed_of_greedy_session: int
    wait_ms_p50: int
    urgent_wait_ms_p50: int
    urgent_completed_of_taken: float
    dispatcher_mb: tuple[float, float]
    """Median of the second quarter and of the last one."""
    client_mb: tuple[float, float]
    object_store_mb_most: float
    slots_spent_at_end: int
    bytes_held_at_end: int


def offers(seed: int) -> Iterator[Offer]:
    """The load, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # a load, no secret
    for number in itertools.count():
        (tenant,) = rng.choices(list(_TENANTS), list(_TENANTS.values()))
        is_of_greedy_session = tenant == "greedy" and rng.random() < _GREEDY_SESSION
        yield Offer(
            tenant,
            "greedy" if is_of_greedy_session else f"session-{number % 20}",
            _PRIORITY if rng.random() < _URGENT else 0,
            _DEADLINE_S if rng.random() < _WITH_DEADLINE else None,
        )


async def run_load(cluster: RunningCluster, seconds: float, factor: float, seed: int) -> Report:
    """Measure the capacity, then offer ``factor`` times as much for ``seconds``."""
    capacity = await _capacity(cluster, max(seconds / 6, 5))
    clients = {tenant: Client(cluster.settings, tenant=tenant) for tenant in _TENANTS}
    for client in clients.values():
        await client.__aenter__()
    samples: list[Sample] = []
    lags_ms: list[float] = []
    sampling = [asyncio.create_task(_sample(cluster, samples)), asyncio.create_task(_measure_lag(lags_ms))]
    began = time.monotonic()
    ended: list[Ended] = []
    running = await _offer(clients, offers(seed), capacity * factor, seconds, ended)
    n_done = sum(not it.code for it in ended)
    took_s = time.monotonic() - began
    await asyncio.gather(*running)
    for task in sampling:
        task.cancel()
    view = await cluster.scheduler.status()
    held = sum(client.ledger.bytes_in() for client in clients.values())
    for client in clients.values():
        await client.close()
    report = _report(ended, samples, took_s, capacity, n_done)
    return structs.replace(
        report,
        slots_spent_at_end=view.spent_slots,
        bytes_held_at_end=held,
        own_lag_ms_p99=round(statistics.quantiles(lags_ms, n=100)[98], 2),
        machine_load=round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
    )


async def _capacity(cluster: RunningCluster, seconds: float) -> float:
    """Jobs per second with four for each slot in flight."""
    n_done = 0
    async with Client(cluster.settings) as client:
        end_at = time.monotonic() + seconds

        async def work() -> None:
            nonlocal n_done
            while time.monotonic() < end_at:
                await client.submit(AUDIO, src="en", deadline_s=60)
                n_done += 1

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(4 * N_NODES * SLOTS)))
        return n_done / (time.monotonic() - began)


async def _offer(
    clients: dict[str, Client], load: Iterator[Offer], per_s: float, seconds: float, ended: list[Ended]
) -> set[asyncio.Task[None]]:
    """Submit at this rate whatever becomes of it; what is late for its moment goes at once. Returns what still runs."""
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    for number, offer in enumerate(load):
        at_s = number / per_s
        if at_s >= seconds:
            break
        if (ahead_s := began + at_s - time.monotonic()) > 0:
            await asyncio.sleep(ahead_s)
        task = asyncio.create_task(_submit(clients[offer.tenant], offer, ended))
        running.add(task)
        task.add_done_callback(running.discard)
    return running


async def _submit(client: Client, offer: Offer, ended: list[Ended]) -> None:
    began = time.perf_counter()
    handle = client.submit(AUDIO, src="en", session=offer.session, priority=offer.priority, deadline_s=offer.deadline_s)
    result = await handle.result()
    took_ms = (time.perf_counter() - began) * 1000
    code, retry_after_ms = (str(result.error.code), result.error.retry_after_ms) if result.error else ("", 0)
    ended.append(Ended(offer, code, retry_after_ms, result.wait_ms, took_ms))


async def _sample(cluster: RunningCluster, samples: list[Sample]) -> None:
    dispatcher, own = actor("Dispatcher"), psutil.Process()
    while True:
        view = await cluster.scheduler.status()
        stats = await asyncio.to_thread(object_store_stats)
        samples.append(
            Sample(
                waiting=view.waiting,
                dispatcher_mb=dispatcher.memory_info().rss / 2**20,
                client_mb=own.memory_info().rss / 2**20,
                object_store_mb=stats.bytes_used / 2**20,
            )
        )
        await asyncio.sleep(0.5)


async def _measure_lag(lags_ms: list[float]) -> None:
    while True:
        asleep_at = time.perf_counter()
        await asyncio.sleep(_NAP_S)
        lags_ms.append((time.perf_counter() - asleep_at - _NAP_S) * 1000)


def _report(ended: list[Ended], samples: list[Sample], took_s: float, capacity: float, n_done: int) -> Report:
    refused = [it for it in ended if it.is_refused]
    done = [it for it in ended if not it.code]
    failed = Counter(it.code for it in ended if it.code and not it.is_refused)
    urgent = [it for it in done if it.offer.priority]
    urgent_taken = [it for it in ended if it.offer.priority and not it.is_refused]
    cuts = statistics.quantiles([it.took_ms for it in refused], n=100) if len(refused) > 1 else [0.0] * 99
    return Report(
        seconds=round(took_s, 1),
        capacity_per_s=round(capacity, 1),
        offered=len(ended),
        offered_per_s=round(len(ended) / took_s, 1),
        completed=len(done),
        goodput_per_s=round(n_done / took_s, 1),
        goodput_of_capacity=round(n_done / took_s / capacity, 3),
        refused=len(refused),
        refused_without_retry_after=sum(not it.retry_after_ms for it in refused),
        failed=dict(failed),
        refusal_ms_p50=round(cuts[49], 2),
        refusal_ms_p99=round(cuts[98], 2),
        own_lag_ms_p99=-1,
        machine_load=-1,
        waiting_most=max(sample.waiting for sample in samples),
        waiting_bound=MAX_WAITING,
        completed_by_tenant=dict(sorted(Counter(it.offer.tenant for it in done).items())),
        offered_by_tenant=dict(sorted(Counter(it.offer.tenant for it in ended).items())),
        completed_of_greedy_session=sum(it.offer.session == "greedy" for it in done),
        wait_ms_p50=_median([it.wait_ms for it in done if not it.offer.priority]),
        urgent_wait_ms_p50=_median([it.wait_ms for it in urgent]),
        urgent_completed_of_taken=round(len(urgent) / max(len(urgent_taken), 1), 3),
        dispatcher_mb=_then_and_now([sample.dispatcher_mb for sample in samples]),
        client_mb=_then_and_now([sample.client_mb for sample in samples]),
        object_store_mb_most=round(max(sample.object_store_mb for sample in samples), 1),
        slots_spent_at_end=-1,
        bytes_held_at_end=-1,
    )


def _median(values: list[int]) -> int:
    return round(statistics.median(values)) if values else -1


def _then_and_now(values: list[float]) -> tuple[float, float]:
    quarter = max(len(values) // 4, 1)
    then, now = values[quarter : 2 * quarter] or values, values[-quarter:]
    return round(statistics.median(then), 1), round(statistics.median(now), 1)


def nodes() -> list[LocalNode]:
    """Four nodes that hear a second of English in a fifth of one."""
    return [echo_node(f"node-{number}", slots=SLOTS, option_speed=str(SPEED)) for number in range(1, N_NODES + 1)]


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long too much is offered")
    parser.add_argument("--factor", type=float, default=3, help="how many times the capacity")
    parser.add_argument("--seed", type=int, default=1, help="of the load")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ray_sched-overload-") as home,
        RunningCluster(nodes(), Path(home), dispatch=RULES, cleanup=CLEANUP) as cluster,
    ):
        report = to_builtins(cluster.run(run_load(cluster, asked.seconds, asked.factor, asked.seed)))
    lines = [json.dumps(report)] if asked.json else [f"{name:28} {value}" for name, value in report.items()]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
