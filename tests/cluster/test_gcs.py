"""Ray's head process, the GCS, is away, or sees less than we do.

It is killed and started again with its tables in Redis, and scheduling goes on meanwhile. And a machine freezes for
longer than we wait for its heartbeats and not as long as Ray does, so that it comes back as if nothing had happened.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from ray_sched import Client
from ray_sched.core.views.nodes import NodeRow
from ray_sched.store.embedded import EmbeddedRedis
from tests.support.cluster import ClusterOfOurs, echo_node, wait_until
from tests.support.processes import agent_of, raylet_of

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("gcs")]

SECOND = np.zeros(16_000, np.int16)
OUTAGE_S = float(os.environ.get("RAY_SCHED_TEST_OUTAGE_S", "4"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfOurs]:
    """Two nodes, and a Redis that holds Ray's tables."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        EmbeddedRedis().start(tmp_path_factory.mktemp("redis"), port=port),
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("RAY_REDIS_ADDRESS", f"127.0.0.1:{port}")
        environment.setenv("RAY_external_storage_namespace", "test_gcs")
        environment.setenv("RAY_health_check_failure_threshold", "60")
        nodes = [echo_node(name, option_speed="10") for name in ("node-1", "node-2")]
        with ClusterOfOurs(nodes, tmp_path_factory.mktemp("data")) as it:
            yield it


async def rows(cluster: ClusterOfOurs) -> dict[str, NodeRow]:
    return {row.node: row for row in await cluster.scheduler.nodes()}


async def until_ready(cluster: ClusterOfOurs, node: str, incarnation: int) -> None:
    """As this incarnation or a later one: an agent that could not be started, with the GCS away, was one, too."""
    async with asyncio.timeout(60):
        while True:
            row = (await rows(cluster)).get(node)
            if row and row.status == "ready" and row.incarnation >= incarnation:
                return
            await asyncio.sleep(0.1)


def test_jobs_flow_while_the_gcs_is_away_and_nodes_come_and_come_back_after_it(cluster: ClusterOfOurs) -> None:
    async def live_through() -> None:
        async with Client(cluster.settings) as client:
            loop = asyncio.get_running_loop()
            met: set[str] = set()
            while met != {"node-1", "node-2"}:  # names are the GCS's to know: a client finds those it has met
                met |= {(await handle).node for handle in client.submit_many([SECOND] * 8, src="en")}
            await asyncio.to_thread(cluster.ray.kill_gcs)
            try:
                over_at = loop.time() + OUTAGE_S
                n_done = 0
                while loop.time() < over_at:
                    results = [handle.result() for handle in client.submit_many([SECOND] * 8, src="en", deadline_s=30)]
                    for result in await asyncio.gather(*results):
                        assert (result.error, result.attempts) == (None, ())
                        n_done += 1
                assert n_done >= 8
                assert {row.status for row in (await rows(cluster)).values()} == {"ready"}
                agent_of("node-2").kill()
                for handle in client.submit_many([SECOND] * 16, src="en", deadline_s=60):
                    assert (await handle).text
            finally:
                await asyncio.to_thread(cluster.ray.start_gcs)
            await until_ready(cluster, "node-2", 2)
            assert (await rows(cluster))["node-1"].incarnation == 1
            cluster.ray.add_node(echo_node("node-3", option_speed="10"))
            await until_ready(cluster, "node-3", 1)
            results = [handle.result() for handle in client.submit_many([SECOND] * 60, src="en", deadline_s=60)]
            assert {result.node for result in await asyncio.gather(*results)} == {"node-1", "node-2", "node-3"}

    cluster.run(live_through())
    wait_until(lambda: cluster.run(cluster.scheduler.status()).spent_slots == 0, 10, "nothing is held")


def test_a_machine_that_thaws_is_a_new_incarnation_and_what_it_says_of_old_jobs_changes_nothing(
    cluster: ClusterOfOurs,
) -> None:
    long = np.zeros(16_000 * 20, np.int16)

    async def live_through() -> None:
        async with Client(cluster.settings) as client:
            handles = client.submit_many([long] * 8, src="en", deadline_s=60)
            while sum(row.running for row in (await rows(cluster)).values()) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            machine = [raylet_of("node-1"), *raylet_of("node-1").children(recursive=True)]
            for process in machine:
                process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(30):
                while (await rows(cluster))["node-1"].status != "lost":  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            for process in machine:
                process.send_signal(signal.SIGCONT)
            results = [await handle.result() for handle in handles]
            assert [result.error for result in results] == [None] * 8
            moved = [result for result in results if result.attempts]
            assert moved
            assert {(result.attempt, result.attempts[0].node) for result in moved} == {(2, "node-1")}
            await until_ready(cluster, "node-1", 2)
            for result in results:
                job = (await cluster.scheduler.explain(result.job_id)).job
                assert (job.status, job.attempt, job.node) == ("completed", result.attempt, result.node)

    cluster.run(live_through())
    wait_until(lambda: cluster.run(cluster.scheduler.status()).spent_slots == 0, 10, "nothing is held")
