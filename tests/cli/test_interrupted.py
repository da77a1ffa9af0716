"""``submit`` whose work is cut short, by a person or by the end of the scheduler: what had ended is there."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.command import Command, Ended, ray_sched

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("interrupted")]

REAL_TIME = {
    "RAY_SCHED_LOCAL__ENGINE": "tests.support.engines.RealTimeEngine",
    "RAY_SCHED_LOCAL__SLOTS_PER_NODE": "4",
    "RAY_SCHED_LOCAL__DASHBOARD_PORT": "0",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}
FILES = ("a.wav", "b.wav", "long.wav", "c.wav")


class Cut:
    """An ``up``, and a ``submit`` of four files, of which three have ended and one will not for minutes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.up = Command(["up", "--nodes", "1", "--no-dashboard"], folder, **REAL_TIME)
        for name in FILES:
            seconds = 300 if name == "long.wav" else 0.2
            soundfile.write(folder / name, np.zeros(round(seconds * 16_000), np.int16), 16_000)

    def submit(self, *options: str) -> Command:
        made = Command(["submit", *FILES, "--from", "en", *options], self.folder, RAY_SCHED_CLIENT__RETRY_FOR_MS="1500")
        while len(ray_sched(self.folder, "jobs", "--status", "completed", "--json").json) < 3:
            assert made.is_running, made.end()
        return made


@contextmanager
def running(folder: Path) -> Iterator[Cut]:
    made = Cut(folder)
    try:
        made.up.wait_for_line("backlog: 0")
        yield made
    finally:
        made.up.kill()


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    """For a test that leaves the scheduler as it was, and for the one that ends it."""
    with running(tmp_path_factory.mktemp("cut")) as made:
        yield made


def codes(ended: Ended) -> dict[str, str | None]:
    return {row["file"]: row["error"] and row["error"]["code"] for row in ended.json}


def test_ctrl_c_leaves_what_had_ended_to_people_and_to_programs(cut: Cut) -> None:
    submitting = cut.submit("--json")
    submitting.signal(signal.SIGINT)
    ended = submitting.end()
    assert ended.status == 130
    assert codes(ended) == {"a.wav": None, "b.wav": None, "long.wav": "CANCELLED", "c.wav": None}
    assert ended.err == "ray-sched: interrupted; the jobs that had not ended were cancelled\n"
    assert ray_sched(cut.folder, "cleanup", "--max-age-s", "0").status == 0

    submitting = cut.submit()
    submitting.signal(signal.SIGTERM)
    ended = submitting.end()
    assert ended.status == 143
    assert sorted(line.split()[0] for line in ended.out.splitlines()) == ["a.wav", "b.wav", "c.wav", "file"]
    assert ended.out.count("echo of 3200 samples") == 3
    assert ray_sched(cut.folder, "cleanup", "--max-age-s", "0").status == 0


def test_an_operator_who_ends_the_scheduler_leaves_what_had_ended(cut: Cut) -> None:
    submitting = cut.submit("--json")
    assert ray_sched(cut.folder, "down", "--drain-s", "0").status == 0
    has_what_had_ended(submitting.end())


def test_a_scheduler_that_is_killed_leaves_what_had_ended(tmp_path: Path) -> None:
    with running(tmp_path) as cut:
        submitting = cut.submit("--json")
        cut.up.signal(signal.SIGKILL)
        has_what_had_ended(submitting.end())


def has_what_had_ended(ended: Ended) -> None:
    assert codes(ended) == {"a.wav": None, "b.wav": None, "long.wav": "SCHEDULER_NOT_RUNNING", "c.wav": None}
    assert "ray-sched: the scheduler has ended; what had not ended has no result\n" in ended.err
    assert ended.status == 11
