"""The simulated cluster around a real Dispatcher, and what is measured with it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ray_sched.bench.growth import measure_growth
from ray_sched.bench.memory import Keeper, Plain
from ray_sched.bench.scale import SHAPES, measure_scale
from ray_sched.bench.simulated import Shape, SimulatedCluster
from ray_sched.client.client import Client
from ray_sched.core.ledger import AudioState
from tests.budgets.budgets import FINISHED_JOB_BYTES
from tests.support.in_process import InProcess, MemoryObjectStore, MemoryStore


async def simulated(shape: Shape, n_jobs: int) -> SimulatedCluster:
    cluster = SimulatedCluster(shape, MemoryStore())
    await cluster.run(n_jobs)
    await cluster.drain()
    return cluster


@pytest.mark.parametrize(
    "shape",
    [
        Shape(nodes=3, slots=4),
        Shape(nodes=20, slots=2, pools=5, capabilities=5, jobs_per_report=1),
        Shape(sessions=7, in_flight=100),
        Shape(nodes=1, slots=2, in_flight=500),
    ],
)
async def test_every_job_of_the_load_completes_whatever_the_shape(shape: Shape) -> None:
    cluster = await simulated(shape, 300)
    statuses = {str(job.status) for job in cluster.brain.jobs.values()}
    assert statuses == {"completed"}
    assert 300 <= len(cluster.brain.jobs) <= 300 + 2 * shape.in_flight
    assert cluster.per_job.spent_s > 0


async def test_jobs_beyond_the_slots_wait() -> None:
    cluster = SimulatedCluster(Shape(nodes=1, slots=2, in_flight=500), MemoryStore())
    await cluster.run(10)
    assert len(cluster.brain.waiting) > 400


def test_the_sizes_are_those_that_were_asked_for() -> None:
    assert {name: (min(sizes), max(sizes)) for name, sizes in SHAPES.items()} == {
        "nodes": (3, 1_000),
        "pools": (1, 50),
        "sessions": (1, 10_000),
        "waiting": (0, 10_000),
    }


async def test_growth_is_told_as_an_exponent_from_size_to_size() -> None:
    report = await measure_scale(("pools",), 90, lambda _step: None)
    steps = report.steps["pools"]
    assert [step.size for step in steps] == [1, 5, 20, 50]
    assert steps[0].exponent is None
    for before, step in pairwise(steps):
        assert step.exponent is not None
        grown = (step.size / before.size) ** step.exponent
        assert grown == pytest.approx(step.cpu_us_per_job / before.cpu_us_per_job, rel=0.02)


async def test_a_finished_job_is_no_larger_than_its_budget_and_forgotten_ones_leave_nothing() -> None:
    growth = await measure_growth(20_000, lambda _step: None)
    assert growth.bytes_per_finished_job <= FINISHED_JOB_BYTES, growth.largest
    assert growth.grew_mb < 2
    assert growth.samples[-1].jobs == 20_000


class ObjectStore(MemoryObjectStore):
    """Counts audio batches that somebody still holds."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def put(self, payloads: Any) -> Any:
        audio_batch = np.concatenate(list(payloads))
        self.batches.append(audio_batch)
        return audio_batch


async def test_a_keeper_holds_the_audio_of_ended_jobs_and_the_client_does_not() -> None:
    audio = np.ones(16_000, np.int16)
    async with InProcess() as system:
        await system.add_node("node")
        async with Client(system.network, MemoryObjectStore()) as client:
            for_ever = Keeper(client, ObjectStore().put, float("inf"))
            not_long = Keeper(client, ObjectStore().put, 0)
            plain = Plain(client)
            for kept in (for_ever, not_long, plain):
                await kept.submit(audio)
                await kept.submit(audio)
            assert client.ledger.bytes_in(AudioState.HELD) == 0
            assert (for_ever.n_bytes, not_long.n_bytes, plain.n_bytes) == (64_000, 64_000, 0)
            for_ever.clean_up()
            not_long.clean_up()
            assert (for_ever.n_bytes, not_long.n_bytes) == (64_000, 0)
