import pytest

from ray_sched.bench.environment import check_rivals
from ray_sched.bench.rounds import notes_of, results_by_in_flight, rounds
from ray_sched.bench.throughput import best_of
from ray_sched.bench.trial import TrialResult
from ray_sched.core.errors import Code, SchedError
from tests.bench_command.figures import run_of


async def test_each_has_one_trial_a_round_and_nobody_is_always_first() -> None:
    trials: list[str] = []

    async def run_trial(name: str, number: int) -> str:
        trials.append(f"{name}{number}")
        return f"{name} of {number}"

    results = await rounds(["a", "b", "c"], 4, run_trial)
    assert trials == ["a1", "b1", "c1", "b2", "c2", "a2", "c3", "a3", "b3", "a4", "b4", "c4"]
    assert results["c"] == ["c of 1", "c of 2", "c of 3", "c of 4"]


def trial_of(*per_s: float) -> TrialResult:
    return TrialResult(note="a fake", closed=dict(zip((64, 128), map(run_of, per_s), strict=True)))


def test_a_result_is_the_median_over_the_trials_at_that_number_in_flight() -> None:
    trials = {"ray_sched": [trial_of(100, 900), trial_of(300, 500), trial_of(200, 700)]}
    results = results_by_in_flight(trials)
    assert {in_flight: by_name["ray_sched"].jobs_per_s for in_flight, by_name in results.items()} == {
        "64": 200,
        "128": 700,
    }
    assert [run.jobs_per_s for run in results["64"]["ray_sched"].runs] == [100, 300, 200]
    assert notes_of(trials) == {"ray_sched": "a fake"}


def test_the_best_of_each_may_be_at_different_numbers_in_flight() -> None:
    trials = {"ray_sched": [trial_of(1_000, 2_000)], "serve": [trial_of(400, 300)], "raw": [trial_of(1_000, 4_000)]}
    best = best_of(results_by_in_flight(trials))
    assert {name: (one.in_flight, one.jobs_per_s, one.own_is) for name, one in best.items()} == {
        "ray_sched": (128, 2_000, 1),
        "serve": (64, 400, 5),
        "raw": (128, 4_000, 0.5),
    }


def test_a_rival_nobody_knows_is_named() -> None:
    with pytest.raises(
        SchedError, match="nothing called 'celery' to compare with; known are in-call, serve, serve-value"
    ) as told:
        check_rivals(["raw", "celery"])
    assert told.value.code is Code.INVALID_CONFIGURATION


def test_serve_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_sched.bench.environment.find_spec", lambda _package: None)
    check_rivals(["raw", "tasks", "actorpool"])
    with pytest.raises(SchedError, match=r"needs ray\[serve\]; run: pip install 'ray-sched\[bench\]'") as told:
        check_rivals(["serve-value"])
    assert told.value.code is Code.MISSING_PART
