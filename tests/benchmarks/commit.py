"""What a commit costs, as one table: ``python -m tests.benchmarks.commit``. No test: a person runs it.

CPU is that of the calling process, in microseconds per commit of 600-byte records over a unix socket; wall time
includes Redis with its append-only file.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable

import redis
import redis.asyncio

from ray_sched.core.ports import SaveJob
from ray_sched.store.commands import Command, commands_for
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.keys import Keys
from ray_sched.store.redis_store import RedisStore

KEYS = Keys("m")
JOB_TTL_S = 86_700
Way = Callable[[list[SaveJob]], Awaitable[object]]


def jobs(count: int, ended: int) -> list[SaveJob]:
    return [SaveJob(job_id=f"job-{n:08}", is_open=n >= ended, record=b"x" * 600) for n in range(count)]


def per_job(changes: list[SaveJob]) -> list[Command]:
    """The plain way: two commands for each job."""
    commands: list[Command] = []
    for job in changes:
        commands.append(("SET", KEYS.job(job.job_id), job.record, *(() if job.is_open else ("EX", "86700"))))
        commands.append(("SADD", KEYS.jobs, job.job_id))
    return commands


def combined(changes: list[SaveJob]) -> list[Command]:
    """The store's own commands, without MULTI and EXEC."""
    return commands_for(changes, KEYS, JOB_TTL_S)[1:-1]


def asyncio_pipeline(client: "redis.asyncio.Redis", *, is_transaction: bool, plan: Callable[..., list[Command]]) -> Way:
    async def way(changes: list[SaveJob]) -> None:
        async with client.pipeline(transaction=is_transaction) as pipeline:
            for command in plan(changes):
                pipeline.execute_command(*command)
            await pipeline.execute()

    return way


def blocking_pipeline(client: "redis.Redis") -> Way:
    async def way(changes: list[SaveJob]) -> None:
        pipeline = client.pipeline(transaction=True)
        for command in combined(changes):
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        pipeline.execute()

    return way


async def measure(way: Way, changes: list[SaveJob], rounds: int) -> tuple[float, float]:
    """CPU and wall time of one commit in microseconds, the best of five runs."""
    best = (float("inf"), float("inf"))
    for _ in range(5):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(rounds):
            await way(changes)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        best = min(best, (cpu / rounds * 1e6, wall / rounds * 1e6))
    return best


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis().start(folder) as server:
        store, client = RedisStore(server.url), redis.asyncio.Redis.from_url(server.url, socket_timeout=2)
        blocking = redis.Redis.from_url(server.url, socket_timeout=2)
        ways: dict[str, Way] = {
            "RedisStore.commit": store.commit,
            "redis.asyncio MULTI/EXEC, combined commands": asyncio_pipeline(client, is_transaction=True, plan=combined),
            "redis.asyncio plain pipeline, combined commands": asyncio_pipeline(
                client, is_transaction=False, plan=combined
            ),
            "redis.asyncio MULTI/EXEC, two commands a job": asyncio_pipeline(client, is_transaction=True, plan=per_job),
            "redis.asyncio plain pipeline, two commands a job": asyncio_pipeline(
                client, is_transaction=False, plan=per_job
            ),
            "blocking redis MULTI/EXEC, combined commands": blocking_pipeline(blocking),
        }
        for count, ended in ((1, 0), (1, 1), (64, 0), (64, 16), (64, 64)):
            print(f"{count} jobs, {ended} of them ended")  # noqa: T201
            for name, way in ways.items():
                cpu_us, wall_us = await measure(way, jobs(count, ended), 1000 if count == 1 else 100)
                print(f"  {name:52} cpu {cpu_us:7.0f} us   wall {wall_us:7.0f} us")  # noqa: T201
        await store.close()
        await client.aclose()
        blocking.close()


if __name__ == "__main__":
    asyncio.run(main())
