from pathlib import Path

import pytest

from ray_sched.bench.plot import plot_contest
from ray_sched.bench.report import median_of, percentile, this_setting
from tests.bench_command.figures import run_of


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
