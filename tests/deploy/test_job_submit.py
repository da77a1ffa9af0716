"""The scheduler as a Ray job: ``ray job submit --working-dir . -- python -m ray_sched up``, until ``ray job stop``."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.deploy.started_ray import StartedRay, until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("started_ray"), pytest.mark.timeout(170)]

ROOT = Path(__file__).parents[2]
UPLOADED = "working_dir_files"
"""Ray unpacks what was uploaded below a folder of this name."""


class Job:
    """The job that is the scheduler."""

    def __init__(self, ray: StartedRay) -> None:
        self._ray = ray
        self.id = ""

    def submit(self) -> None:
        before = {job["submission_id"] for job in self._ray.get("/api/jobs/")}
        command = ["job", "submit", "--address", self._ray.dashboard, "--no-wait", "--working-dir", str(ROOT), "--"]
        self._ray.run("ray", *command, "python", "-m", "ray_sched", "up")
        [self.id] = {job["submission_id"] for job in self._ray.get("/api/jobs/")} - before

    def info(self) -> Any:
        return self._ray.get(f"/api/jobs/{self.id}")

    def logs(self) -> str:
        return str(self._ray.get(f"/api/jobs/{self.id}/logs")["logs"])

    def says(self, sentence: str) -> bool:
        assert self.info()["status"] in {"PENDING", "RUNNING"}, self.logs()
        return sentence in self.logs()

    def stop(self) -> None:
        self._ray.run("ray", "job", "stop", "--address", self._ray.dashboard, self.id)


@pytest.fixture(scope="module")
def job(started_ray: StartedRay) -> Iterator[Job]:
    job = Job(started_ray)
    job.submit()
    until(lambda: job.says("the scheduler is up"), 60, "up says that it is up")
    yield job
    if job.info()["status"] == "RUNNING":
        job.stop()


def submitting(ray: StartedRay, seconds: float) -> "subprocess.Popen[str]":
    """A user's program on its way: its audio lasts so long, and the node takes half of that."""
    command = [sys.executable, str(Path(__file__).with_name("submit_echo.py")), str(seconds)]
    return subprocess.Popen(
        command, env=ray.environment(RAY_ADDRESS=ray.address), cwd=ray.dir, stdout=subprocess.PIPE, text=True
    )


def test_the_job_logs_what_runs_and_how_it_is(job: Job) -> None:
    until(lambda: job.says("jobs: none; nodes: "), 20, "the first line of the log that comes once a minute")
    until(lambda: job.says("echo is ready"), 60, "what the actors log is in the job's log")


def test_a_program_elsewhere_submits_and_gets_its_result(started_ray: StartedRay, job: Job) -> None:
    with submitting(started_ray, 1) as program:
        told, _ = program.communicate(timeout=60)
    assert told.splitlines() == ["accepted", "echo of 16000 samples"]
    assert job.info()["status"] == "RUNNING"


def test_every_actor_is_there_under_its_name_and_runs_the_uploaded_code(started_ray: StartedRay, job: Job) -> None:
    assert job.info()["runtime_env"]["working_dir"].startswith("gcs://")
    assert started_ray.named_actors() == {"dispatcher", "registry", "timer", "agent:echo", "pool:echo/asr=en"}
    kinds = ["Dispatcher", "Registry", "Timer", "Pool", "Agent"]

    def folders() -> list[str]:
        return [process.cwd() for kind in kinds for process in started_ray.processes(f"ray::{kind}Process")]

    until(lambda: len(folders()) == len(kinds), 10, "each of them has its title")  # which Ray gives it a moment later
    assert [folder for folder in folders() if UPLOADED not in folder] == []


def test_one_redis_holds_rays_tables_and_ours_under_prefixes_of_their_own(started_ray: StartedRay, job: Job) -> None:
    assert job.id
    client = redis.Redis.from_url(f"redis://{started_ray.redis_address}/0")
    keys = {key.decode() for key in client.scan_iter()}
    client.close()
    ours = {key for key in keys if key.startswith("ray_sched")}
    assert ours
    assert keys - ours
    assert [key for key in keys - ours if not key.startswith("RAYray-sched@")] == []


def test_ray_job_stop_lets_the_running_job_end_and_leaves_no_actor(started_ray: StartedRay, job: Job) -> None:
    runs_longer_than_rays_own_patience_s = 5
    with submitting(started_ray, 2 * runs_longer_than_rays_own_patience_s) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "accepted\n"
        job.stop()
        told, _ = program.communicate(timeout=60)
    assert told == "echo of 160000 samples\n"
    assert job.info()["status"] == "STOPPED"
    assert job.logs().splitlines()[-1].endswith("stopped")
    assert started_ray.named_actors() == set()


def test_the_scheduler_can_be_submitted_again(started_ray: StartedRay, job: Job) -> None:
    assert job.info()["status"] == "STOPPED"
    again = Job(started_ray)
    again.submit()
    until(lambda: again.says("the scheduler is up"), 60, "the second up says that it is up")
    again.stop()
    assert again.info()["status"] == "STOPPED"
    assert started_ray.named_actors() == set()
