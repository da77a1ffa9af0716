"""Three times as much as there is capacity for, and parties that mean harm, on a real cluster. Counts, no times."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from ray_sched import Client
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.agent_dispatcher import AgentBatch, RunFinished
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.client_agent import Fetch, Push, PushItem
from ray_sched.system.ray_peers import RayDirectory
from ray_sched.wire.codec import encode
from ray_sched.wire.peers import PeerUnavailableError
from tests.benchmarks.overload import CLEANUP, MAX_WAITING, RULES, nodes, run_load
from tests.support.cluster import RunningCluster, echo_node, wait_until
from tests.support.processes import actor, agent_of

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("overload")]

SECOND = np.zeros(16_000, np.int16)
GARBAGE: tuple[Any, ...] = (b"\xc1", b"\xdf\xff\xff\xff\xff", "text", None, b"x" * 10**7)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    slow = echo_node("slow", asr="es", slots=2, option_speed="0.5")
    with RunningCluster([*nodes(), slow], tmp_path_factory.mktemp("data"), dispatch=RULES, cleanup=CLEANUP) as it:
        yield it


def test_three_times_the_capacity_is_refused_in_time_shared_fairly_and_leaves_nothing(cluster: RunningCluster) -> None:
    report = cluster.run(run_load(cluster, seconds=8, factor=3, seed=7))
    assert report.waiting_most <= MAX_WAITING
    assert report.completed + report.refused + sum(report.failed.values()) == report.offered
    assert report.refused > 0
    assert report.refused_without_retry_after == 0
    assert set(report.failed) <= {"NO_AVAILABLE_NODE", "DEADLINE_EXCEEDED", "PUSH_TIMEOUT"}
    greedy = report.completed_by_tenant.pop("greedy")
    for n_completed in report.completed_by_tenant.values():
        assert n_completed > greedy / 3, "six times the offer is not six times the share"
    assert (report.slots_spent_at_end, report.bytes_held_at_end) == (0, 0)
    wait_until(lambda: cluster.run(cluster.scheduler.status()).stored_bytes == 0, 10, "the object store is empty")


def test_parties_that_mean_harm_change_nothing_on_a_real_cluster(cluster: RunningCluster) -> None:
    before = [process.pid for process in processes()]
    cluster.run(do_harm(cluster))
    assert [process.pid for process in processes()] == before
    assert {row.incarnation for row in cluster.run(cluster.scheduler.nodes())} == {1}


def processes() -> list[psutil.Process]:
    return [*(actor(kind) for kind in ("Dispatcher", "Registry", "Timer")), agent_of("slow"), agent_of("node-1")]


async def do_harm(cluster: RunningCluster) -> None:
    directory = RayDirectory(cluster.settings.namespace)

    async def harm(actor: str, method: str, *args: Any) -> Any:
        """What came of a call: its return value or the error it raised."""
        try:
            return await directory.peer(actor).call(method, *args, timeout_s=10)
        except SchedError as error:
            return str(error.code)
        except PeerUnavailableError:
            return "UNAVAILABLE"
        except Exception as error:  # noqa: BLE001  # a stranger gets what a stranger asked for
            return type(error).__name__

    async with Client(cluster.settings) as owner:
        running = owner.submit(SECOND, src="es", deadline_s=60)
        job_id = await running.accepted()
        for what in GARBAGE:
            for method in ("client", "poll", "agent", "offer"):
                assert await harm("dispatcher", method, what) == "INVALID_MESSAGE"
            assert await harm("registry", "beat", what) == "INVALID_MESSAGE"
            for method in ("fetch_speech", "order"):
                assert await harm("agent:slow", method, what) == "INVALID_MESSAGE"
            assert await harm("agent:slow", "push", what, what) == "INVALID_MESSAGE"
            assert await harm("dispatcher", "explain", what) in {"UNKNOWN_JOB", "TypeError", "RayTaskError(TypeError)"}
        lie = RunFinished(job_id=job_id, attempt=1, text="all your base", run_ms=1)
        for key in (b"", b"x" * 16):
            batch = AgentBatch(node="slow", incarnation=1, key=key, messages=(lie,))
            assert await harm("dispatcher", "agent", encode(batch)) == "UNAUTHENTICATED"
            beat = Heartbeat(node="slow", incarnation=1, key=key, is_loaded=True, is_healthy=False, why="lies")
            assert await harm("registry", "beat", encode(beat)) == "UNAUTHENTICATED"
        item = PushItem(
            job_id=job_id, attempt=1, src="es", tgt="es", services=("asr",), wants_partials=False, n_bytes=2
        )
        push = encode(Push(incarnation=1, items=(item,)))
        assert await harm("agent:slow", "push", push, [np.zeros(2, np.uint8)]) is None
        stolen = encode(Fetch(job_id=job_id, attempt=1))
        assert await harm("agent:slow", "fetch_speech", stolen) == "UNAUTHENTICATED"
        async with asyncio.timeout(60):
            result = await running
        assert (result.text, result.attempt) == ("echo of 16000 samples", 1)
