"""Real processes are killed and frozen; every job still ends once, in order, and nothing is held at the end."""

import asyncio
import signal
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from ray_sched import Client, Result
from ray_sched.core.rules import DispatchRules
from tests.support.cluster import RunningCluster, echo_node, wait_until
from tests.support.processes import actor, agent_of, raylet_of, redis_server

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("failures")]

SECOND = np.zeros(16_000, np.int16)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Two steady nodes, and others that a test may do harm to."""
    nodes = [echo_node(name, slots=4, option_speed="10") for name in ("steady-1", "steady-2", "victim")]
    with RunningCluster(nodes, tmp_path_factory.mktemp("data"), dispatch=DispatchRules(run_timeout_ms=30_000)) as it:
        yield it


def status_of(cluster: RunningCluster, node: str) -> str:
    return next((row.status for row in cluster.run(cluster.scheduler.nodes()) if row.node == node), "")


def incarnation_of(cluster: RunningCluster, node: str) -> int:
    return next(row.incarnation for row in cluster.run(cluster.scheduler.nodes()) if row.node == node)


def is_at_rest(cluster: RunningCluster) -> bool:
    view = cluster.run(cluster.scheduler.status())
    rows = cluster.run(cluster.scheduler.nodes())
    busy = [row for row in rows if row.status == "ready" and (row.running or row.acquired or row.audio_bytes)]
    return not (view.waiting or view.spent_slots or view.stored_bytes or busy)


async def speak_and_hurt(cluster: RunningCluster, n_jobs: int, hurt: Callable[[], None]) -> list[Result]:
    """A steady stream of two sessions; after a third of it the harm is done."""
    results: list[Result] = []
    async with Client(cluster.settings) as client:
        window = asyncio.Semaphore(16)

        async def utter(number: int) -> None:
            async with window:
                session, index = f"s{number % 2}", number // 2
                handle = client.submit(SECOND, src="en", session=session, utterance_index=index, deadline_s=60)
                results.append(await handle.result())

        tasks = [asyncio.create_task(utter(number)) for number in range(n_jobs)]
        while len(results) < n_jobs // 3:  # noqa: ASYNC110  # a third of the stream has to be done, whoever does it
            await asyncio.sleep(0.01)
        await asyncio.to_thread(hurt)
        await asyncio.gather(*tasks)
    return results


def assert_each_once_and_completed(results: list[Result], n_jobs: int) -> None:
    assert len(results) == n_jobs
    assert [result for result in results if result.error] == []
    assert len({(result.session, result.utterance_index) for result in results}) == n_jobs


def test_jobs_on_a_killed_agent_run_elsewhere_and_its_node_comes_back(cluster: RunningCluster) -> None:
    before = incarnation_of(cluster, "victim")
    results = cluster.run(speak_and_hurt(cluster, 120, lambda: agent_of("victim").kill()))
    assert_each_once_and_completed(results, 120)
    assert any(note.node == "victim" for result in results for note in result.attempts)
    wait_until(lambda: incarnation_of(cluster, "victim") == before + 1, 10, "a new incarnation")
    wait_until(lambda: status_of(cluster, "victim") == "ready", 10, "the node is ready again")
    wait_until(lambda: is_at_rest(cluster), 5, "nothing is held")


def test_jobs_on_a_frozen_agent_run_elsewhere_and_its_node_comes_back(cluster: RunningCluster) -> None:
    frozen: list[psutil.Process] = []

    def freeze() -> None:
        frozen.append(agent_of("victim"))
        frozen[0].send_signal(signal.SIGSTOP)

    before = incarnation_of(cluster, "victim")
    results = cluster.run(speak_and_hurt(cluster, 120, freeze))
    assert_each_once_and_completed(results, 120)
    assert {note.node for result in results for note in result.attempts} == {"victim"}
    wait_until(lambda: incarnation_of(cluster, "victim") > before, 10, "a new incarnation")
    wait_until(lambda: not frozen[0].is_running(), 10, "the frozen process is ended")
    wait_until(lambda: status_of(cluster, "victim") == "ready", 10, "the node is ready again")
    wait_until(lambda: is_at_rest(cluster), 5, "nothing is held")


@pytest.mark.parametrize("kind", ["Dispatcher", "Registry", "Pool", "Timer"])
def test_a_killed_control_actor_costs_no_job(cluster: RunningCluster, kind: str) -> None:
    before = incarnation_of(cluster, "steady-1")
    results = cluster.run(speak_and_hurt(cluster, 150, lambda: actor(kind).kill()))
    assert_each_once_and_completed(results, 150)
    assert incarnation_of(cluster, "steady-1") == before, "its agents went on"
    wait_until(lambda: is_at_rest(cluster), 10, "nothing is held")


def test_a_dispatcher_killed_with_five_thousand_waiting_jobs_loses_none(cluster: RunningCluster) -> None:
    async def submit() -> tuple[int, int]:
        async with Client(cluster.settings) as client:
            waiting = client.submit_many([SECOND] * 5_000, src="de", deadline_s=300, copy=False)
            await waiting[-1].accepted()
            ran = client.submit_many([SECOND] * 12, src="en", deadline_s=60)
            actor("Dispatcher").kill()
            assert (await client.submit(SECOND, src="en", deadline_s=60)).error is None
            for handle in ran:
                assert (await handle).error is None
            async with asyncio.timeout(20):
                while (await cluster.scheduler.status()).waiting < 5_000:  # noqa: ASYNC110  # asked of another process
                    await asyncio.sleep(0.1)
            return (await cluster.scheduler.status()).waiting, sum(handle.is_done for handle in waiting)

    assert cluster.run(submit()) == (5_000, 0)


async def until_a_job_completes(client: Client) -> None:
    async with asyncio.timeout(20):
        while (await client.submit(SECOND, src="en").result()).error:  # noqa: ASYNC110  # asked anew each time
            await asyncio.sleep(0.1)


def test_a_killed_redis_is_started_again_and_what_was_acknowledged_is_still_there(cluster: RunningCluster) -> None:
    async def submit() -> tuple[str, str]:
        async with Client(cluster.settings) as client:
            waiting = client.submit(SECOND, src="de", deadline_s=60)
            job_id = await waiting.accepted()
            redis_server(cluster.settings.data_dir).kill()
            await until_a_job_completes(client)
            actor("Dispatcher").kill()
            await until_a_job_completes(client)
            return job_id, (await cluster.scheduler.explain(job_id)).job.status

    job_id, status = cluster.run(submit())
    assert (bool(job_id), status) == (True, "pending")
    wait_until(lambda: is_at_rest(cluster), 10, "nothing is held")


def test_jobs_of_a_killed_raylet_run_elsewhere(cluster: RunningCluster) -> None:
    results = cluster.run(speak_and_hurt(cluster, 120, lambda: raylet_of("victim").kill()))
    assert_each_once_and_completed(results, 120)
    wait_until(lambda: status_of(cluster, "victim") == "lost", 10, "the node is lost")
    wait_until(lambda: is_at_rest(cluster), 10, "nothing is held")
