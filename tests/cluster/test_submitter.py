"""A submitter's process is killed: what waits is cancelled, what runs ends, and nothing of it stays anywhere."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import ray

from ray_sched import BlockingClient, Client, Result
from ray_sched.core.errors import Code
from ray_sched.core.rules import DispatchRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.system.store_stats import object_store_stats
from tests.cluster.submitter import N_PUSHING, N_RUNNING, N_WAITING, SECOND
from tests.support.cluster import RunningCluster, echo_node, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("submitter")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    rules = DispatchRules(client_ttl_ms=3_000)
    with RunningCluster(
        [echo_node("node-1", option_speed="10")], tmp_path_factory.mktemp("data"), dispatch=rules
    ) as it:
        yield it


def test_a_killed_submitter_leaves_no_job_no_slot_and_no_byte(cluster: RunningCluster) -> None:
    before = object_store_stats()
    own = {
        "RAY_SCHED_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_SCHED_DATA_DIR": str(cluster.settings.data_dir),
    }
    submitter = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.submitter"], env=os.environ | own, stdout=subprocess.PIPE, text=True
    )
    try:
        assert submitter.stdout is not None
        assert submitter.stdout.readline() == "ready\n"
        view = cluster.run(cluster.scheduler.status())
        assert (view.waiting, view.spent_slots) == (N_WAITING, N_RUNNING + N_PUSHING)
        assert object_store_stats().n_objects > before.n_objects
    finally:
        submitter.kill()
        submitter.wait()
        submitter.stdout.close()  # type: ignore[union-attr]  # it has one, as asserted above
    wait_until(lambda: object_store_stats() == before, 10, "the bytes are back")

    def is_over() -> bool:
        view = cluster.run(cluster.scheduler.status())
        return view.waiting == view.spent_slots == 0

    wait_until(is_over, 20, "no job waits and no slot is acquired")
    jobs = cluster.run(cluster.scheduler.jobs(JobFilter(), 1_000))
    assert Counter(str(job.status) for job in jobs) == {
        "cancelled": N_WAITING,
        "completed": N_RUNNING,
        "failed": N_PUSHING,
    }
    told = {job.error.partition(":")[0] for job in jobs if job.error}
    assert told == {str(Code.CLIENT_GONE)}
    view = cluster.run(cluster.scheduler.status())
    assert (view.free_slots, view.held_bytes, view.stored_bytes) == (view.slots, 0, 0)


def test_an_application_that_blocks_its_event_loop_keeps_its_jobs(cluster: RunningCluster) -> None:
    async def block() -> tuple[list[str], list[Result]]:
        async with Client(cluster.settings) as client:
            handles = client.submit_many([np.zeros(16_000 * 5, np.int16)] * 20, src="en")
            jobs = [await handle.accepted() for handle in handles]
            time.sleep(7)  # noqa: ASYNC251  # it blocks
            return jobs, [await handle.result() for handle in handles]

    jobs, results = cluster.run(block())
    assert {(result.status, result.error) for result in results} == {("completed", None)}
    assert [result.job_id for result in results] == jobs, "it was not gone meanwhile"


def test_leaving_a_map_of_the_blocking_client_cancels_what_it_has_in_flight(cluster: RunningCluster) -> None:
    name = "left"
    with BlockingClient(cluster.settings) as client:
        for result in client.map([SECOND] * 200, src="en", name=name, window=50):
            assert result.status == "completed"
            break

        def is_over() -> bool:
            view = cluster.run(cluster.scheduler.status())
            return view.waiting == view.spent_slots == 0

        wait_until(is_over, 20, "nothing waits and nothing runs, while the client is there")
        jobs = [job for job in cluster.run(cluster.scheduler.jobs(JobFilter(), 1_000)) if job.name == name]
        assert "cancelled" in {str(job.status) for job in jobs}
        assert len(jobs) < 200, "what was not submitted is not submitted any more"
