import asyncio
from pathlib import Path

import pytest

from ray_sched.bench.arena import check_rivals
from ray_sched.bench.contest import Contest, Length
from ray_sched.bench.load import Audio, Samples, Supply, closed, open_loop
from ray_sched.bench.plot import plot_contest
from ray_sched.bench.report import Run, median_of, percentile, this_setting
from ray_sched.core.errors import Code, SchedError


class Contestant:
    """Echoes in this process."""

    titles: tuple[str, ...] = ()
    note = "a fake"

    def __init__(self, name: str, order: list[str]) -> None:
        self.name = name
        self._order = order

    async def start(self) -> None:
        """Nothing."""

    async def _echo(self, audio: Samples) -> str:
        await asyncio.sleep(0)
        return f"echo of {len(audio)} samples"

    async def closed(self, supply: Supply, in_flight: int) -> None:
        self._order.append(self.name)
        await closed(self._echo, supply, in_flight)

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        self._order.append(self.name)
        await open_loop(self._echo, supply, per_s)

    async def stop(self) -> None:
        """Nothing."""


class Blocking(Contestant):
    async def open_loop(self, supply: Supply, per_s: float) -> None:
        raise NotImplementedError


def contest(*contestants: Contestant) -> Contest:
    return Contest(contestants, Audio(0.01), lambda _step: None, store_bytes=lambda: 0, warm_up_s=0.01)


async def test_contestants_alternate_and_the_order_turns_round() -> None:
    order: list[str] = []
    runs = await contest(Contestant("a", order), Contestant("b", order)).closed(4, 3, Length(jobs=10))
    assert order == ["a", "b", *"ab", *"ba", *"ab"], "a warm-up of each, then three rounds"
    assert {name: [run.jobs for run in each] for name, each in runs.items()} == {"a": [10] * 3, "b": [10] * 3}


async def test_who_cannot_submit_on_time_has_no_open_runs() -> None:
    order: list[str] = []
    both = contest(Contestant("a", order), Blocking("b", order))
    runs = await both.open_loop({"a": 5_000.0, "b": 5_000.0}, 2, Length(jobs=10))
    assert list(runs) == ["a"]


def run_of(jobs_per_s: float) -> Run:
    return Run(
        jobs=1,
        jobs_per_s=jobs_per_s,
        p50_ms=1,
        p99_ms=2,
        p999_ms=3,
        cpu_ms_per_job=0.5,
        peak_rss_mb=100,
        object_store_peak_mb=1,
    )


def test_a_result_is_the_median_of_its_runs() -> None:
    result = median_of([run_of(100), run_of(900), run_of(300)])
    assert result.jobs_per_s == 300
    assert [run.jobs_per_s for run in result.runs] == [100, 900, 300]


def test_percentiles_lie_between_the_nearest_ranks() -> None:
    values = [float(n) for n in range(101)]
    assert percentile(values, 99) == 99
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([4.0], 99.9) == 4


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"contest.{ending}"
    results = {"ray_sched": median_of([run_of(900)]), "serve": median_of([run_of(100)])}
    plot_contest(path, {"64": results, "128": results}, this_setting())
    assert path.stat().st_size > 5_000


def test_a_rival_nobody_knows_is_named() -> None:
    with pytest.raises(
        SchedError, match="nothing called 'celery' to compare with; known are serve, serve-value"
    ) as told:
        check_rivals(["raw", "celery"])
    assert told.value.code is Code.INVALID_CONFIGURATION


def test_serve_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_sched.bench.arena.find_spec", lambda _package: None)
    check_rivals(["raw", "tasks", "actorpool"])
    with pytest.raises(SchedError, match=r"needs ray\[serve\]; run: pip install 'ray-sched\[bench\]'") as told:
        check_rivals(["serve-value"])
    assert told.value.code is Code.MISSING_PART
