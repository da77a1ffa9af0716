"""What actors export, and that no job makes them export anything."""

import asyncio
from collections.abc import Iterable

import numpy as np

from ray_sched.observe.families import FAMILIES, Owner
from ray_sched.observe.samples import Sample, points
from tests.support.in_process import InProcess

AUDIO = np.zeros(1_600, np.int16)


class Written:
    """All that was written, by tick."""

    def __init__(self) -> None:
        self.ticks: list[list[Sample]] = []

    def __call__(self, samples: Iterable[Sample]) -> None:
        self.ticks.append(list(samples))

    def families(self) -> set[str]:
        return {sample.family for sample in self.ticks[-1]}


async def test_jobs_export_nothing_and_a_tick_exports_every_family_of_the_dispatcher() -> None:
    written = Written()
    async with InProcess(write_samples=written) as system:
        await system.add_node("node-a")
        async with system.client() as client:
            await asyncio.gather(*(client.submit(AUDIO, src="en") for _ in range(20)))
            assert written.ticks == []
            await system.dispatcher.tick("metrics")
    assert len(written.ticks) == 1
    own = {family.name for family in FAMILIES.values() if family.owner in (Owner.DISPATCHER, Owner.BOTH)}
    assert written.families() == own
    by_family = {sample.family: sample for sample in written.ticks[0] if not sample.labels}
    assert points(by_family["jobs_assigned"])[0].value == 20
    assert points(by_family["job_total_seconds"])[-1].value == 20


async def test_each_sample_has_the_labels_of_its_family() -> None:
    written = Written()
    async with InProcess(write_samples=written) as system:
        await system.add_node("node-a")
        await system.dispatcher.tick("metrics")
        assert {sample.family for sample in await system.dispatcher.metrics()} >= {"up", "jobs"}
    for sample in written.ticks[0]:
        assert set(points(sample)[0].labels) - {"le"} == set(FAMILIES[sample.family].labels)
