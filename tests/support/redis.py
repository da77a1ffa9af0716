"""Real Redis servers for tests: one per session, a fresh prefix for each test, and ways to make them suffer."""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
import redis

from ray_sched.core.ports import ForgetJob, SaveJob
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.redis_store import RedisStore, open_store


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A server for the whole session. Do not stop it; a test that ends servers starts its own."""
    with EmbeddedRedis().start(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Address of the session's server."""
    return redis_server.url


@pytest.fixture
def prefix() -> str:
    """A key prefix that nobody else uses."""
    return f"test_{secrets.token_hex(6)}"


@pytest_asyncio.fixture
async def store(redis_url: str, prefix: str) -> AsyncIterator[RedisStore]:
    """An empty store."""
    opened = await open_store(redis_url, prefix)
    yield opened
    await opened.close()


@pytest.fixture
def peek(redis_url: str) -> Iterator["redis.Redis"]:
    """A plain client, to see what is really there."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@contextmanager
def frozen(server: EmbeddedRedis) -> Iterator[None]:
    """The server holds its breath: connections are accepted by the kernel, nothing is answered."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def save(job_id: str, record: bytes = b"{}", *, is_open: bool = True) -> SaveJob:
    """A job with this record."""
    return SaveJob(job_id=job_id, is_open=is_open, record=record)


def forget(job_id: str) -> ForgetJob:
    """The forgetting of what :func:`save` saved."""
    return ForgetJob(job_id=job_id)


async def records(store: RedisStore) -> list[bytes]:
    """All records, sorted."""
    return sorted([record async for record in store.load_jobs()])
