"""The settings of a trial: a cluster of its own, and jobs that wait as long as a slow model makes them."""

from pathlib import Path

from ray_sched.bench.environment import own_settings
from ray_sched.settings import default_settings


def test_a_job_that_waits_for_a_slow_model_is_not_given_up(tmp_path: Path) -> None:
    settings = default_settings(data_dir=tmp_path)
    assert (
        own_settings(settings, tmp_path).dispatch.pending_timeout_ms >= 600_000 > settings.dispatch.pending_timeout_ms
    )
