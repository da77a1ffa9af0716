import pytest

from ray_sched.bench import trial_process
from ray_sched.bench.contest import Length
from ray_sched.bench.environment import EnvironmentPlan
from ray_sched.bench.trial import Trial
from ray_sched.bench.trial_process import TrialFailedError, in_a_process
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import checked_settings, default_settings

ENVIRONMENT = EnvironmentPlan(nodes=1, slots=1)
TRIAL = Trial(in_flight=(1,), length=Length(jobs=2), audio_s=0.1)


async def run_trial() -> None:
    await in_a_process(default_settings(), "ray_sched", ENVIRONMENT, TRIAL, lambda _step: None)


async def test_an_expected_no_of_the_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SCHED_CLEANUPP", "1")
    with pytest.raises(SchedError, match="did you mean 'cleanup'") as told:
        await run_trial()
    assert told.value.code is Code.INVALID_CONFIGURATION


async def test_a_process_that_ends_without_an_answer_is_told_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_process, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(TrialFailedError, match="the trial of ray_sched ended with exit status 3"):
        await run_trial()


async def test_the_settings_arrive_as_they_were_told() -> None:
    told = default_settings(namespace="elsewhere")
    assert checked_settings(told.model_dump(mode="json"), "the order") == told
