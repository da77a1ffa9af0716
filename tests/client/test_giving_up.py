"""Who waits for a job and gives up: the job is cancelled when it was the last one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from ray_sched.client.client import Client
from ray_sched.client.results import JobHandle, Result
from ray_sched.core.errors import Code
from tests.support.in_process import InProcess

SECOND = np.zeros(16_000, np.int16)


@asynccontextmanager
async def nobody_serves() -> AsyncIterator[tuple[InProcess, Client]]:
    """A system without nodes: jobs wait until they are cancelled."""
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        yield system, client


async def waiting(client: Client, **options: str) -> JobHandle:
    handle = client.submit(SECOND, src="en", deadline_s=600, **options)  # type: ignore[arg-type]  # what is named
    await handle.accepted()
    return handle


async def begun(handle: JobHandle) -> "asyncio.Task[Result]":
    """A task that waits for the result by now."""
    task = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    return task


async def is_cancelled(handle: JobHandle) -> bool:
    """What became of the job, as somebody else is told who does not wait with a time-out."""
    result = await handle.result()
    return result.error is not None and result.error.code is Code.CANCELLED


async def test_a_job_that_was_waited_for_with_a_time_limit_is_cancelled() -> None:
    async with nobody_serves() as (system, client):
        handle = await waiting(client)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        assert await is_cancelled(handle)
        assert [job.status for job in system.brain.jobs.values()] == ["cancelled"]


async def test_the_last_one_who_waits_decides() -> None:
    async with nobody_serves() as (system, client):
        handle = await waiting(client)
        first, second = await begun(handle), await begun(handle)
        first.cancel()
        await asyncio.wait([first])
        other = await waiting(client)
        await other.cancel()
        assert system.brain.jobs[handle.job_id].status == "pending", "whatever was sent before that has arrived"
        second.cancel()
        await asyncio.wait([second])
        assert await is_cancelled(handle)


async def test_a_detached_job_goes_on_whoever_gives_up() -> None:
    async with nobody_serves() as (system, client):
        handle = (await waiting(client)).detach()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        other = await waiting(client)
        await other.cancel()
        assert system.brain.jobs[handle.job_id].status == "pending"


async def test_the_same_request_that_somebody_else_waits_for_goes_on() -> None:
    async with nobody_serves() as (system, client):
        mine = await waiting(client, request_id="r")
        yours = await waiting(client, request_id="r")
        assert mine.job_id == yours.job_id
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(mine, 0.01)
        other = await waiting(client)
        await other.cancel()
        assert system.brain.jobs[yours.job_id].status == "pending"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(yours.result(), 0.01)
        assert await is_cancelled(yours)
        assert await is_cancelled(mine)


async def test_a_map_that_is_left_cancels_what_it_has_in_flight() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        audios = [SECOND] * 10
        results = client.map([SECOND, *audios], src="en", window=1)
        async for result in results:
            assert result.status == "completed"
            break
        await results.aclose()
        waits = client.map(audios, src="de", window=5)
        asked = asyncio.ensure_future(anext(waits))
        while system.brain.counters.submitted < 6:  # noqa: ASYNC110  # the test's own poll
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.wait([asked])
        await (await waiting(client)).cancel()
        assert sorted(job.status for job in system.brain.jobs.values()) == ["cancelled"] * 6 + ["completed"]


async def test_leaving_as_completed_cancels_the_jobs_that_nobody_else_waits_for() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        quick = client.submit(SECOND, src="en")
        left = client.submit(SECOND, src="de", deadline_s=600)
        kept = client.submit(SECOND, src="de", deadline_s=600)
        waiter = await begun(kept)
        results = client.as_completed([quick, left, kept])
        assert (await anext(results)).status == "completed"
        await results.aclose()
        assert await is_cancelled(left)
        assert system.brain.jobs[kept.job_id].status == "pending"
        waiter.cancel()
        await asyncio.wait([waiter])
        assert await is_cancelled(kept)


async def test_a_result_that_is_there_is_not_cancelled_by_who_comes_too_late() -> None:
    async with InProcess() as system, system.client() as client, asyncio.timeout(20):
        await system.add_node("a")
        handle = client.submit(SECOND, src="en")
        await handle
        late = asyncio.create_task(handle.result())
        late.cancel()
        await asyncio.wait([late])
        assert (await handle).status == "completed"
