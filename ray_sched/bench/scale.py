"""Growth: what a job costs the Dispatcher as nodes, pools, sessions and waiting jobs become many."""

import itertools
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.report import Setting, this_setting
from ray_sched.bench.simulated import Shape, SimulatedCluster
from ray_sched.core.ports import Store
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.redis_store import open_store

_STEEP = 0.3
"""Local exponent from which on growth is called worse than logarithmic: log(n) has 0.15 at 1 000, noise some more."""
_SESSIONS_IN_FLIGHT = 256
_NODES_PER_POOL = 100
_OFFERS_PER_S = 4
_PARTS = 3
"""The cost is that of the cheapest part: others on the machine can only make a job dearer."""

SHAPES: dict[str, dict[int, Shape]] = {
    "nodes": {
        n: Shape(nodes=n, slots=4, pools=-(-n // _NODES_PER_POOL), jobs_per_report=1)
        for n in (3, 10, 30, 100, 300, 1_000)
    },
    "pools": {
        n: Shape(nodes=_NODES_PER_POOL, slots=4, pools=n, capabilities=n, jobs_per_report=1) for n in (1, 5, 20, 50)
    },
    "sessions": {n: Shape(sessions=n, in_flight=_SESSIONS_IN_FLIGHT) for n in (1, 10, 100, 1_000, 10_000)},
    "waiting": {n: Shape(in_flight=64 + n) for n in (0, 100, 1_000, 10_000)},
}
"""With few nodes a report is about many jobs, which is cheaper; where their number grows each is about one."""


class Step(Struct, frozen=True, kw_only=True):
    """One size."""

    size: int
    cpu_us_per_job: float
    """Of the Dispatcher, brain and shell, with its side of the commit."""
    cpu_us_per_offer: float
    """Of the Dispatcher for one offer of one pool; each pool makes four a second."""
    core_percent_of_offers: float
    """What all pools' offers take of the Dispatcher's core all the time."""
    jobs_per_s: float
    """What one Dispatcher with a core of its own can carry."""
    exponent: float | None
    """From the size before: the cost grows like size to the power of this. A logarithm's is small and falls."""


class ScaleReport(Struct, frozen=True, kw_only=True):
    """What ``bench scale --json`` prints."""

    setting: Setting
    jobs: int
    steps: dict[str, list[Step]]
    too_steep: list[str]
    """Where the cost grew worse than a logarithm."""


async def measure_scale(what: tuple[str, ...], n_jobs: int, notify: Notify) -> ScaleReport:
    """Every size of what was asked for, each with a Dispatcher and a Redis of its own, as few as possible first."""
    setting = this_setting()
    steps: dict[str, list[Step]] = {}
    for name in what:
        steps[name] = []
        for size, shape in SHAPES[name].items():
            async with fresh_store() as store:
                step = await _measure(shape, store, size, n_jobs, steps[name][-1:])
            notify(f"{name}, {size}: {step.cpu_us_per_job:.0f} us of CPU per job")
            steps[name].append(step)
    too_steep = [
        f"{name}, {before.size} to {step.size}"
        for name, each in steps.items()
        for before, step in itertools.pairwise(each)
        if step.exponent is not None and step.exponent > _STEEP
    ]
    return ScaleReport(setting=setting, jobs=n_jobs, steps=steps, too_steep=too_steep)


@asynccontextmanager
async def fresh_store() -> AsyncIterator[Store]:
    """A store on a Redis of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ray_sched-b-") as home, EmbeddedRedis().start(Path(home)) as server:
        store = await open_store(server.url)
        yield store
        await store.close()


async def _measure(shape: Shape, store: Store, size: int, n_jobs: int, before: list[Step]) -> Step:
    cluster = SimulatedCluster(shape, store)
    await cluster.run(max(shape.in_flight, shape.sessions, n_jobs // 10))  # a warm-up that opens every session
    cost_us = min([await _cost_us(cluster, n_jobs // _PARTS) for _ in range(_PARTS)])
    offers_s, n_offers = cluster.per_offer.spent_s, cluster.n_offers
    await cluster.renew_leases(is_due=True)
    offer_us = (cluster.per_offer.spent_s - offers_s) * 1e6 / (cluster.n_offers - n_offers)
    return Step(
        size=size,
        cpu_us_per_job=round(cost_us, 1),
        cpu_us_per_offer=round(offer_us, 1),
        core_percent_of_offers=round(offer_us * shape.pools * _OFFERS_PER_S / 1e4, 2),
        jobs_per_s=round(1e6 / cost_us),
        exponent=_exponent(before, size, cost_us),
    )


async def _cost_us(cluster: SimulatedCluster, n_jobs: int) -> float:
    before_s = cluster.per_job.spent_s
    await cluster.run(n_jobs)
    return (cluster.per_job.spent_s - before_s) * 1e6 / n_jobs


def _exponent(before: list[Step], size: int, cost_us: float) -> float | None:
    if not before or not before[0].size:
        return None
    return round(math.log(cost_us / before[0].cpu_us_per_job) / math.log(size / before[0].size), 2)
