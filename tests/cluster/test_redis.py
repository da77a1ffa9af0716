"""A Redis of its own is stopped, frozen, emptied, filled and slowed down under load; nothing acknowledged is lost.

An outage lasts ``RAY_SCHED_TEST_OUTAGE_S`` seconds after the last running job has ended; 30 for a long one.
"""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from ray_sched import Client, Result
from ray_sched.core.errors import Code
from ray_sched.core.rules import DispatchRules
from ray_sched.settings import StoreRules
from ray_sched.store.embedded import EmbeddedRedis
from tests.support.cluster import RunningCluster, echo_node, wait_until
from tests.support.processes import actor
from tests.support.proxy import SlowProxy

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("redis")]

OUTAGE_S = float(os.environ.get("RAY_SCHED_TEST_OUTAGE_S", "4"))
NODES = ("node-1", "node-2")
SECOND = np.zeros(16_000, np.int16)
LONG = np.zeros(16_000 * 20, np.int16)
"""Runs two seconds, and so ends during the outage."""


class OwnRedis:
    """A server with a port, in front of it a network that can be slow."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._folder = folder
        self.server = EmbeddedRedis()
        self.start()
        self.proxy = SlowProxy(self._port)

    def start(self) -> None:
        self.server.start(self._folder, "always", port=self._port)

    def stop(self) -> None:
        os.kill(self.server.pid, signal.SIGTERM)
        wait_until(lambda: not self.server.is_running, 10, "Redis has ended")

    def start_empty(self) -> None:
        shutil.rmtree(self._folder)
        self.start()

    def freeze(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)

    def fill(self) -> None:
        self._configure("maxmemory", 1)

    def make_room(self) -> None:
        self._configure("maxmemory", 0)

    def n_nodes(self) -> int:
        """How many nodes it knows."""
        with redis.Redis.from_url(self.server.url) as reader:
            return int(reader.scard("ray_sched:nodes"))

    def _configure(self, name: str, value: int) -> None:
        with redis.Redis.from_url(self.server.url) as admin:
            admin.config_set(name, value)


class OnOwnRedis(RunningCluster):
    """A cluster whose Redis a test may do harm to."""

    redis: OwnRedis


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnOwnRedis]:
    own = OwnRedis(tmp_path_factory.mktemp("redis"))
    nodes = [echo_node(name, option_speed="10") for name in NODES]
    rules, store = DispatchRules(pending_timeout_ms=60_000), StoreRules(redis_url=own.proxy.url)
    data = tmp_path_factory.mktemp("data")
    with own.server, own.proxy, OnOwnRedis(nodes, data, dispatch=rules, store=store) as it:
        it.redis = own
        yield it


def is_at_rest(cluster: RunningCluster) -> bool:
    view = cluster.run(cluster.scheduler.status())
    rows = cluster.run(cluster.scheduler.nodes())
    return not (view.store_error or view.waiting or view.spent_slots or any(row.running for row in rows))


async def until_refused(client: Client) -> Result:
    """Submit until the scheduler says that it cannot promise anything."""
    async with asyncio.timeout(20):
        while True:
            result = await client.submit(SECOND, src="en").result()
            if result.error:
                return result


async def until_a_job_completes(client: Client) -> Result:
    async with asyncio.timeout(20):
        while True:
            result = await client.submit(SECOND, src="en").result()
            if result.error is None:
                return result
            await asyncio.sleep(0.1)


class Outage:
    """What is done to Redis, and undone."""

    def __init__(self, name: str, begin: Callable[[OwnRedis], None], end: Callable[[OwnRedis], None]) -> None:
        self.name = name
        self.begin = begin
        self.end = end


OUTAGES = [
    Outage("stopped", OwnRedis.stop, OwnRedis.start),
    Outage("frozen", OwnRedis.freeze, OwnRedis.thaw),
    Outage("emptied", OwnRedis.stop, OwnRedis.start_empty),
    Outage("full", OwnRedis.fill, OwnRedis.make_room),
]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_what_was_acknowledged_survives_an_outage_and_what_ran_is_delivered_after_it(
    cluster: OnOwnRedis, outage: Outage
) -> None:
    async def live_through() -> None:
        async with Client(cluster.settings) as client:
            done = await client.submit(SECOND, src="en")
            waits = client.submit(SECOND, src="de", deadline_s=300)
            runs = [client.submit(LONG, src="en", session="s") for _ in range(4)]
            accepted = [await waits.accepted(), *[await handle.accepted() for handle in runs]]
            while sum(row.running for row in await cluster.scheduler.nodes()) < 4:  # noqa: ASYNC110  # of others
                await asyncio.sleep(0.05)
            await asyncio.to_thread(outage.begin, cluster.redis)
            try:
                refused = await until_refused(client)
                assert refused.error is not None
                assert refused.error.code is Code.SCHEDULER_DEPENDENCY_DOWN
                assert refused.error.retry_after_ms > 0
                while any(row.running for row in await cluster.scheduler.nodes()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await asyncio.sleep(OUTAGE_S)
                assert [row.status for row in await cluster.scheduler.nodes()] == ["ready", "ready"]
                assert [handle.is_done for handle in runs] == [False] * 4, "results are held until they are saved"
            finally:
                await asyncio.to_thread(outage.end, cluster.redis)
            results = [await handle for handle in runs]
            assert [(result.utterance_index, result.attempt) for result in results] == [(n, 1) for n in range(4)]
            assert (await until_a_job_completes(client)).error is None
            async with asyncio.timeout(5):
                while cluster.redis.n_nodes() != len(NODES):  # noqa: ASYNC110  # an emptied one is filled within a second
                    await asyncio.sleep(0.05)
            for kind in ("Dispatcher", "Registry"):
                actor(kind).kill()
            await until_a_job_completes(client)
            stories = [await cluster.scheduler.explain(job_id) for job_id in (done.job_id, *accepted)]
            assert [story.job.status for story in stories] == ["completed", "pending", *["completed"] * 4]
            assert [row.incarnation for row in await cluster.scheduler.nodes()] == [1, 1]

    cluster.run(live_through())
    wait_until(lambda: is_at_rest(cluster), 20, "nothing is held")


def test_a_slow_redis_makes_jobs_slower_and_loses_none(cluster: OnOwnRedis) -> None:
    async def speak() -> list[Result]:
        async with Client(cluster.settings) as client:
            first = client.submit_many([SECOND] * 40, src="en", session="slow")
            await first[0]
            await asyncio.to_thread(cluster.redis.proxy.hang_up)  # connecting takes longer than an answer may
            await until_a_job_completes(client)
            return [await handle.result() for handle in first]

    cluster.redis.proxy.delay_s = 0.5
    try:
        results = cluster.run(speak())
    finally:
        cluster.redis.proxy.delay_s = 0.0
    assert [(result.utterance_index, result.error) for result in results] == [(n, None) for n in range(40)]
    wait_until(lambda: is_at_rest(cluster), 10, "nothing is held")


def test_a_redis_emptied_while_nothing_happens_is_filled_again(cluster: OnOwnRedis) -> None:
    async def submit() -> str:
        async with Client(cluster.settings) as client:
            return (await client.submit(SECOND, src="en")).job_id

    job_id = cluster.run(submit())
    with redis.Redis.from_url(cluster.redis.server.url) as peek:
        peek.flushall()
        wait_until(lambda: bool(peek.exists(f"ray_sched:job:{job_id}")), 10, "the job is there again")
        wait_until(lambda: peek.scard("ray_sched:nodes") == 2, 10, "the nodes are there again")
        wait_until(lambda: peek.exists("ray_sched:known:dispatcher", "ray_sched:known:registry") == 2, 10, "known")
