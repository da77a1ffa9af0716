"""``up`` that is told to end by SIGTERM: what runs ends first, and nothing is left."""

import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ray_sched.core.errors import EXIT_STATUS, Code
from tests.cli.command import ECHO, SPEECH, Command, ray_sched, script

pytestmark = pytest.mark.cluster


def test_sigterm_while_starting_leaves_nothing(tmp_path: Path) -> None:
    command = Command(["up", "--no-dashboard"], tmp_path, **ECHO)
    try:
        command.wait_for_line("starting Ray")
        command.signal(signal.SIGTERM)
        assert command.end().status == 0
        assert command.left_behind() == []
    finally:
        command.kill()


def test_up_that_nobody_has_stopped_does_not_end_as_if_somebody_had(tmp_path: Path) -> None:
    up = Command(["up", "--nodes", "1", "--no-dashboard"], tmp_path, **ECHO)
    end_it = """
import ray
from ray_sched.settings import load_settings
from ray_sched.system.api import _join
settings = load_settings()
_join(settings)
ray.kill(ray.get_actor("dispatcher", namespace=settings.namespace), no_restart=True)
"""
    try:
        up.wait_for_line("backlog: 0")
        assert script(tmp_path, end_it).status == 0
        ended = up.end()
        assert ended.status == EXIT_STATUS[Code.SCHEDULER_NOT_RUNNING], ended.err
        assert "the scheduler's Dispatcher has ended though nobody has stopped it" in ended.err
        assert up.left_behind() == []
    finally:
        up.kill()


def test_sigterm_lets_running_jobs_end_and_their_submitters_have_their_results(tmp_path: Path) -> None:
    samples, rate_hz = soundfile.read(SPEECH / "austen-0870.wav", dtype="int16")
    soundfile.write(tmp_path / "long.wav", np.tile(samples, 5), rate_hz)
    up = Command(
        ["up", "--nodes", "1", "--drain-s", "90", "--no-dashboard"], tmp_path, RAY_SCHED_LOCAL__ENGINE="speech"
    )
    try:
        up.wait_for_line("backlog: 0")
        submitted = Command(["submit", "long.wav", "--from", "en", "--json"], tmp_path)
        while not ray_sched(tmp_path, "jobs", "--status", "processing", "--json").json:
            assert submitted.is_running, "it ended before the signal"
        up.signal(signal.SIGTERM)
        up.wait_for_line("stopping; running jobs may take")
        ended = submitted.end()
        assert ended.status == 0, ended.err
        assert ended.json[0]["status"] == "completed"
        assert up.end().status == 0
        assert up.left_behind() == []
    finally:
        up.kill()
