import asyncio

from ray_sched.bench.contest import Length
from ray_sched.bench.load import Awaited, Supply
from ray_sched.bench.trial import Trial, run_trial
from ray_sched.wire.samples import Samples


class Fake(Awaited):
    """Echoes in this process, and notes the loads it was given."""

    name = "fake"
    note = "a fake"

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.per_s = 0.0

    async def start(self) -> None:
        """Nothing."""

    async def echo(self, audio: Samples) -> str:
        await asyncio.sleep(0)
        return f"echo of {len(audio)} samples"

    async def closed(self, supply: Supply, in_flight: int) -> None:
        self.loads.append(f"{in_flight} in flight")
        await super().closed(supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        self.loads.append("at random")
        self.per_s = per_s
        await super().open_loop(supply, 5_000)

    async def stop(self) -> None:
        """Nothing."""


class Blocking(Fake):
    async def open_loop(self, supply: Supply, per_s: float) -> None:
        raise NotImplementedError


TRIAL = Trial(in_flight=(2, 4), length=Length(jobs=10), audio_s=0.01, has_half_load=True, bulk=5, warm_up_s=0.01)


async def test_every_load_is_warmed_up_and_measured() -> None:
    fake = Fake()
    results = await run_trial(fake, TRIAL, lambda _step: None, lambda: 3 * 2**20)
    assert fake.loads == ["2 in flight"] * 2 + ["4 in flight"] * 2 + ["at random"] * 2
    assert {in_flight: run.jobs for in_flight, run in results.closed.items()} == {2: 10, 4: 10}
    assert results.closed[2].object_store_peak_mb == 3
    assert results.note == "a fake"
    assert results.closed[2].through is None, "a rival is not asked"


async def test_half_load_is_half_of_the_most_in_the_same_trial() -> None:
    fake = Fake()
    results = await run_trial(fake, TRIAL, lambda _step: None, lambda: 0)
    assert results.half is not None
    assert fake.per_s == max(run.jobs_per_s for run in results.closed.values()) / 2
    assert results.half.run.jobs == 10


async def test_who_cannot_submit_on_time_has_no_half_load_and_only_the_scheduler_has_a_bulk() -> None:
    results = await run_trial(Blocking(), TRIAL, lambda _step: None, lambda: 0)
    assert results.half is None
    assert results.bulk_per_s == 0
