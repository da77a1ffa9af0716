"""Nodes leave in every way there is, under load: nothing fails, and what runs on them ends there if it is let."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import ray
import ray._raylet
from ray.core.generated import autoscaler_pb2

from ray_sched import BlockingClient, Client, Result
from ray_sched.core.errors import Code
from ray_sched.core.rules import DispatchRules, NodeRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.jobs import JobView
from ray_sched.core.views.nodes import NodeRow
from ray_sched.system.local import LocalNode
from tests.support.cluster import ClusterOfOurs, RunningCluster, echo_node, wait_until
from tests.support.processes import raylet_of

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("drain")]

SECOND = np.zeros(16_000, np.int16)
NAMES = ("node-1", "node-2", "node-3")
SLOTS = 4
SPEED = 2
"""A job of one second holds its slot for half a second."""
LONG = np.zeros(16_000 * SPEED * 4, np.int16)
"""Holds its slot for four seconds."""
IN_FLIGHT = round(0.7 * SLOTS * len(NAMES))


def a_node(name: str) -> LocalNode:
    return echo_node(name, slots=SLOTS, option_speed=str(SPEED))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfOurs]:
    rules = {"dispatch": DispatchRules(pending_timeout_ms=60_000), "nodes": NodeRules(respawn_delay_ms=200)}
    with ClusterOfOurs([a_node(name) for name in NAMES], tmp_path_factory.mktemp("data"), **rules) as it:
        yield it


def row_of(cluster: RunningCluster, node: str) -> NodeRow:
    return next(row for row in cluster.run(cluster.scheduler.nodes()) if row.node == node)


def wait_for_status(cluster: RunningCluster, node: str, *statuses: str) -> None:
    wait_until(lambda: row_of(cluster, node).status in statuses, 60, f"{node} is {statuses}")


def come_back(cluster: ClusterOfOurs, node: str) -> None:
    """The machine is started again under its name."""
    before = row_of(cluster, node).incarnation
    cluster.ray.add_node(a_node(node))
    wait_for_status(cluster, node, "ready")
    assert row_of(cluster, node).incarnation == before + 1


def stop_machine(node: str) -> None:
    """SIGTERM to its raylet."""
    raylet = raylet_of(node)
    raylet.terminate()
    wait_for_end_of(raylet)


def wait_for_end_of(raylet: psutil.Process) -> None:
    wait_until(lambda: not raylet.is_running() or raylet.status() == psutil.STATUS_ZOMBIE, 30, "the raylet has ended")


@contextmanager
def load(cluster: RunningCluster) -> Iterator[list[Result]]:
    """While this block runs, seven slots of ten are busy; at its end every job has its result."""
    results: list[Result] = []
    is_over = threading.Event()

    async def speak() -> None:
        async with Client(cluster.settings) as client:

            async def keep_one_in_flight() -> None:
                while not is_over.is_set():
                    results.append(await client.submit(SECOND, src="en", deadline_s=60).result())

            await asyncio.gather(*(keep_one_in_flight() for _ in range(IN_FLIGHT)))

    thread = threading.Thread(target=lambda: asyncio.run(speak()))
    thread.start()
    try:
        wait_until(lambda: len(results) >= IN_FLIGHT, 30, "jobs flow")
        yield results
    finally:
        is_over.set()
        thread.join()


def failed(results: list[Result]) -> list[Result]:
    return [result for result in results if result.error]


def moved(results: list[Result]) -> list[Result]:
    return [result for result in results if result.attempts]


def at_rest(cluster: RunningCluster) -> bool:
    view = cluster.run(cluster.scheduler.status())
    return not (view.waiting or view.spent_slots or view.stored_bytes)


def test_a_rolling_drain_of_all_nodes_under_load_moves_no_job(cluster: ClusterOfOurs) -> None:
    with load(cluster) as results:
        for node in NAMES:
            cluster.run(cluster.scheduler.drain_node(node, 30))
            wait_for_status(cluster, node, "gone")
            stop_machine(node)
            come_back(cluster, node)
    assert failed(results) == []
    assert moved(results) == [], "each ended where it began"
    assert {result.node for result in results} == set(NAMES)
    wait_until(lambda: at_rest(cluster), 10, "nothing is held")


def test_a_node_whose_raylet_ends_by_sigterm_is_lost_at_once_and_its_jobs_are_moved(cluster: ClusterOfOurs) -> None:
    with load(cluster) as results:
        stop_machine("node-1")
        wait_for_status(cluster, "node-1", "lost")
        come_back(cluster, "node-1")
    assert failed(results) == []
    assert {note.node for result in results for note in result.attempts} == {"node-1"}
    wait_until(lambda: at_rest(cluster), 10, "nothing is held")


def test_rays_own_drain_lets_running_jobs_end_and_takes_no_new_ones(cluster: ClusterOfOurs) -> None:
    with load(cluster) as results:
        raylet = raylet_of("node-2")
        drain_by_ray("node-2", 30)
        wait_for_end_of(raylet)  # as soon as nothing takes any of its resources: when its agent is gone
        wait_for_status(cluster, "node-2", "gone")
        come_back(cluster, "node-2")
    assert failed(results) == []
    assert moved(results) == []
    wait_until(lambda: at_rest(cluster), 10, "nothing is held")


def drain_by_ray(node: str, deadline_s: int) -> None:
    """What ``ray drain-node`` does, and the autoscaler of a cloud before it takes a machine away."""
    told = ray._raylet.GcsClient(address=ray.get_runtime_context().gcs_address).drain_node(
        next(row["NodeID"] for row in ray.nodes() if row["Alive"] and row["Labels"].get("ray-sched.io/node") == node),
        autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        "the test takes it away",
        time.time_ns() // 1_000_000 + deadline_s * 1000,
    )
    assert told[0], told[1]


@pytest.mark.parametrize("by_ray", [False, True], ids=["by us", "by Ray"])
def test_what_still_runs_at_the_deadline_of_a_drain_is_moved(cluster: ClusterOfOurs, *, by_ray: bool) -> None:
    with BlockingClient(cluster.settings) as client, ThreadPoolExecutor(1) as beside:
        coming = beside.submit(lambda: client.submit(LONG, src="en"))

        def running() -> list[JobView]:
            return cluster.run(cluster.scheduler.jobs(JobFilter(statuses=("processing",)), 1))

        wait_until(lambda: bool(running()), 10, "it runs")
        node = running()[0].node
        raylet = raylet_of(node)
        if by_ray:
            drain_by_ray(node, 1)
        else:
            cluster.run(cluster.scheduler.drain_node(node, 1))
        wait_for_status(cluster, node, "gone")
        if not by_ray:
            raylet.terminate()
        wait_for_end_of(raylet)
        come_back(cluster, node)
        result = coming.result()
    assert [note.node for note in result.attempts] == [node]
    assert result.node != node
    wait_until(lambda: at_rest(cluster), 10, "nothing is held")


def test_a_scheduler_that_stops_ends_what_runs_and_takes_nothing_new(cluster: ClusterOfOurs) -> None:
    async def stop() -> tuple[list[Result], Result, int]:
        async with Client(cluster.settings) as client:
            running = client.submit_many([SECOND] * 2 * IN_FLIGHT, src="en")
            for handle in running:
                await handle.accepted()
            stopping = asyncio.create_task(cluster.scheduler.stop(30))
            async with asyncio.timeout(30):
                while (late := await client.submit(SECOND, src="en").result()).error is None:
                    pass
            results = [await handle.result() for handle in running]
            return results, late, await stopping

    results, late, n_left = cluster.run(stop())
    assert failed(results) == []
    assert late.error is not None
    assert late.error.code is Code.SHUTTING_DOWN
    assert n_left == 0
