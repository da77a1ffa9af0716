"""Redis frozen, gone, full, locked, or not Redis at all: bounded answers, and all resumes by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
import redis

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.ports import StoreDownError
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.redis_store import RedisStore, open_store
from ray_sched.store.server_binary import Server
from tests.support.redis import frozen, records, save

BIG = b"x" * 1_000_000
"""More than the buffers of a socket hold."""


@pytest.fixture
def own_server(server_binary: Server, tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server to be stopped, killed and reconfigured."""
    with EmbeddedRedis(server_binary).start(tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(url: str, prefix: str = "p", timeout_s: float = 0.3) -> AsyncIterator[RedisStore]:
    store = await open_store(url, prefix, timeout_s)
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("record", [b"small", BIG], ids=["small", "a megabyte"])
async def test_a_frozen_redis_is_reported_in_time_and_used_again_once_it_thaws(
    redis_server: EmbeddedRedis, prefix: str, record: bytes
) -> None:
    async with opened(redis_server.url, prefix) as store:
        await store.commit([save("j1", b"before")])
        with frozen(redis_server):
            for _ in range(3):
                started = time.monotonic()
                with pytest.raises(StoreDownError, match=r"gave no answer within 0\.3 s"):
                    await store.commit([save("j1", record)])
                assert time.monotonic() - started < 0.6
        await store.commit([save("j1", b"after")])
        assert await records(store) == [b"after"]


async def test_callers_that_queue_behind_a_frozen_command_are_answered_in_time_too(
    redis_server: EmbeddedRedis, prefix: str
) -> None:
    async with opened(redis_server.url, prefix) as store:
        with frozen(redis_server):
            started = time.monotonic()
            answers = await asyncio.gather(*[store.ping() for _ in range(20)], return_exceptions=True)
            assert time.monotonic() - started < 0.6
        assert [type(answer) for answer in answers] == [StoreDownError] * 20


async def test_a_frozen_redis_does_not_hold_the_loop_or_another_store(  # bug 8
    own_server: EmbeddedRedis, store: RedisStore
) -> None:
    async with opened(own_server.url, timeout_s=1.0) as stuck:
        with frozen(own_server):
            waiting = asyncio.create_task(stuck.commit([save("j1")]))
            slowest_ms = max([await store.ping() for _ in range(200)])
            assert not waiting.done()
            assert slowest_ms < 100
            with pytest.raises(StoreDownError):
                await waiting


async def test_one_slow_load_does_not_hold_commits(store: RedisStore) -> None:  # bug 8
    await store.commit([save(f"j{number}", b"x" * 600) for number in range(5000)])
    loading = asyncio.create_task(records(store))
    await asyncio.sleep(0)
    await store.commit([save("j0")])
    assert not loading.done()
    assert len(await loading) == 5000


async def test_a_cancelled_command_leaves_no_reply_for_the_next(redis_server: EmbeddedRedis, prefix: str) -> None:
    async with opened(redis_server.url, prefix, timeout_s=2.0) as store:
        await store.commit([save("j1", b"1")])
        with frozen(redis_server):
            loading = asyncio.create_task(records(store))
            await asyncio.sleep(0.05)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
        assert await store.load_nodes() == {}
        assert await records(store) == [b"1"]


async def test_commands_cancelled_at_any_moment_never_mix_up_replies(store: RedisStore) -> None:
    await store.commit([save(f"j{number}", b"%04d" % number) for number in range(1500)])
    for attempt in range(200):
        loading = asyncio.create_task(records(store))
        for _ in range(attempt % 40):
            await asyncio.sleep(0)
        loading.cancel()
        assert await store.load_speeds() == {}
    assert len(await records(store)) == 1500


async def test_a_commit_that_timed_out_is_never_written_after_a_later_one(
    redis_server: EmbeddedRedis, prefix: str
) -> None:
    async with Proxy(redis_server) as proxy, opened(proxy.url, prefix) as store:
        await store.commit([save("j1", b"1")])
        with proxy.holding_back(), pytest.raises(StoreDownError):
            await store.commit([save("j1", b"2 late")])
        await store.commit([save("j1", b"3")])
        await proxy.deliver_late()
        assert await records(store) == [b"3"]


async def test_closing_lets_the_commit_under_way_end_and_none_begin(redis_server: EmbeddedRedis, prefix: str) -> None:
    async with opened(redis_server.url, prefix) as store:
        first = asyncio.create_task(store.commit([save("j1", b"1")]))
        await asyncio.sleep(0)
        second = asyncio.create_task(store.commit([save("j1", b"2")]))
        await asyncio.sleep(0)
        await store.close()
        await first
        with pytest.raises(StoreDownError, match="was closed"):
            await second
    async with opened(redis_server.url, prefix) as store:
        assert await records(store) == [b"1"]


async def test_redis_restarted_while_nothing_was_under_way_is_not_noticed(
    own_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with opened(own_server.url) as store:
        await store.commit([save("j1", b"1")])
        own_server.stop()
        own_server.start(tmp_path)
        await asyncio.sleep(0.01)
        assert await records(store) == [b"1"]


@pytest.mark.parametrize("delay_s", [0.09, 0.12, 0.3])
async def test_a_slow_redis_is_connected_to_again_though_that_takes_longer_than_one_answer_may(
    redis_server: EmbeddedRedis, prefix: str, delay_s: float
) -> None:
    async with Proxy(redis_server) as proxy, opened(proxy.url, prefix, timeout_s=0.4) as store:
        proxy.delay_s = delay_s
        await store.commit([save("j1", b"1")])
        with proxy.holding_back(), pytest.raises(StoreDownError):
            await store.commit([save("j1", b"2 late")])
        n_failed = 0
        while n_failed < 10:
            try:
                await store.commit([save("j1", b"3")])
                break
            except StoreDownError:
                n_failed += 1
        assert n_failed < 10, "connecting takes four answers, one after the other"
        await proxy.deliver_late()
        assert await records(store) == [b"3"]


async def test_closing_while_it_connects_gives_up_connecting(redis_server: EmbeddedRedis, prefix: str) -> None:
    async with opened(redis_server.url, prefix) as store:
        redis.Redis.from_url(redis_server.url).client_kill_filter(_type="normal")
        await asyncio.sleep(0.01)
        with frozen(redis_server):
            with pytest.raises(StoreDownError):
                await store.ping()
            await store.close()
        with pytest.raises(StoreDownError, match="was closed"):
            await store.ping()


async def test_redis_gone_is_reported_at_once(own_server: EmbeddedRedis) -> None:
    async with opened(own_server.url) as store:
        own_server.stop()
        for _ in range(3):
            with pytest.raises(StoreDownError, match="Redis at "):
                await store.commit([save("j1")])


async def test_a_redis_out_of_memory_is_down_and_keeps_what_it_has(own_server: EmbeddedRedis) -> None:
    async with opened(own_server.url) as store:
        await store.commit([save("j1", b"1")])
        with redis.Redis.from_url(own_server.url) as admin:
            admin.config_set("maxmemory", 1)
            with pytest.raises(StoreDownError, match=r"OOM|maxmemory"):
                await store.commit([save("j2", b"2")])
            admin.config_set("maxmemory", 0)
        await store.commit([save("j3", b"3")])
        assert await records(store) == [b"1", b"3"]


async def test_a_redis_that_became_a_replica_is_down(own_server: EmbeddedRedis) -> None:
    async with opened(own_server.url) as store:
        with redis.Redis.from_url(own_server.url) as admin:
            admin.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreDownError, match="read only replica"):
                await store.commit([save("j1")])
            admin.replicaof("NO", "ONE")
        await store.commit([save("j1")])


async def test_a_type_in_the_way_of_an_index_is_down_not_a_crash(
    store: RedisStore, peek: "redis.Redis", prefix: str
) -> None:
    peek.set(f"{prefix}:jobs", "in the way")
    with pytest.raises(StoreDownError, match="WRONGTYPE"):
        await store.commit([save("j1")])


@pytest.mark.parametrize(
    "answer",
    [
        "-LOADING Redis is loading the dataset in memory",
        "-MISCONF Redis is configured to save RDB snapshots, but it cannot",
        "-CLUSTERDOWN The cluster is down",
        "-MASTERDOWN Link with MASTER is down",
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-NOREPLICAS Not enough good replicas to write.",
        "-ERR something new",
        "HTTP/1.1 400 Bad Request",
        "",
    ],
)
async def test_every_way_redis_says_no_is_the_store_being_down(answer: str) -> None:
    async with answering(answer) as url:
        store = RedisStore(url, timeout_s=0.3)
        for _ in range(2):
            with pytest.raises(StoreDownError, match=r"Redis at 127\.0\.0\.1"):
                await store.commit([save("j1")])
        with pytest.raises(SchedError, match=r"does not answer; start it or correct store\.redis_url") as failure:
            await open_store(url, timeout_s=0.3)
        assert failure.value.code == Code.SCHEDULER_DEPENDENCY_DOWN
        await store.close()


@pytest.mark.parametrize("given", ["", ":wrong-secret@", "somebody:wrong-secret@"])
async def test_a_wrong_password_is_named_but_never_shown(own_server: EmbeddedRedis, given: str) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "right-secret")
    async with Proxy(own_server) as proxy:
        with pytest.raises(SchedError, match=r"check the password in store\.redis_url") as failure:
            await open_store(proxy.url.replace("redis://", f"redis://{given}"), timeout_s=0.5)
        assert failure.value.code == Code.SCHEDULER_DEPENDENCY_DOWN
        assert "secret" not in _everything(failure.value)


async def test_a_wrong_password_is_named_on_a_unix_socket_too(own_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "right-secret")
    with pytest.raises(SchedError, match="check the password"):
        await open_store(own_server.url)
    async with opened(f"{own_server.url}?password=right-secret") as store:
        assert await store.ping() > 0


async def test_the_right_password_opens_the_store_over_tcp(own_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "r:ght/secret")
    async with (
        Proxy(own_server) as proxy,
        opened(proxy.url.replace("redis://", "redis://:r%3Aght%2Fsecret@")) as store,
    ):
        await store.commit([save("j1", b"1")])
        assert await records(store) == [b"1"]


async def test_a_password_that_changes_later_is_the_store_being_down(own_server: EmbeddedRedis) -> None:
    async with opened(own_server.url) as store:
        with redis.Redis.from_url(own_server.url) as admin:
            admin.config_set("requirepass", "secret")
            admin.client_kill_filter(_type="normal")
            await asyncio.sleep(0.01)
            with pytest.raises(StoreDownError, match="refused the password"):
                await store.ping()


@pytest.mark.parametrize(
    "url", ["http://localhost", "redis://:se/cret@host:1", "redis://host?hallo=secret", "secret", "redis://h:x", ""]
)
def test_an_address_that_cannot_be_read_is_a_configuration_error_without_the_secret(url: str) -> None:
    with pytest.raises(SchedError, match=r"store\.redis_url cannot be read") as failure:
        RedisStore(url)
    assert failure.value.code == Code.INVALID_CONFIGURATION
    assert "secret" not in _everything(failure.value)


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(SchedError, match=r"Redis at 127\.0\.0\.1:1 does not answer") as failure:
        await open_store("redis://user:secret@127.0.0.1:1/0")
    assert "secret" not in _everything(failure.value)


async def test_opening_a_frozen_redis_is_refused_in_time(own_server: EmbeddedRedis) -> None:
    with frozen(own_server):
        started = time.monotonic()
        with pytest.raises(SchedError, match="does not answer"):
            await open_store(own_server.url, timeout_s=0.3)
        assert time.monotonic() - started < 0.6


async def test_keys_of_another_program_under_our_prefix_are_refused(redis_url: str, prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.lpush(f"{prefix}:jobs", "x")
    with pytest.raises(SchedError, match=f"holds a list under {prefix}:jobs"):
        await open_store(redis_url, prefix)


def _everything(error: BaseException) -> str:
    """All that a traceback of the error could print as messages."""
    shown = [repr(error), str(error)]
    if error.__cause__ is not None:
        shown.append(_everything(error.__cause__))
    elif error.__context__ is not None and not error.__suppress_context__:
        shown.append(_everything(error.__context__))
    return "\n".join(shown)


@asynccontextmanager
async def answering(line: str) -> AsyncIterator[str]:
    """A server that says the same to everything."""

    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while line and await reader.read(1 << 16):
            writer.write(line.encode() + b"\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await hang_up(writers)


async def hang_up(writers: list[asyncio.StreamWriter]) -> None:
    """Close these connections, and let the loop see that they are."""
    for writer in writers:
        writer.transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)


class Proxy:
    """A network between store and server that can hold back what was sent and deliver it late."""

    def __init__(self, server: EmbeddedRedis) -> None:
        self._path = server.url.removeprefix("unix://")
        self._is_holding = False
        self.delay_s = 0.0
        """How long every answer of the server takes more."""
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await hang_up(self._writers)

    def holding_back(self) -> Self:
        return self

    def __enter__(self) -> None:
        self._is_holding = True

    def __exit__(self, *_: object) -> None:
        self._is_holding = False

    async def deliver_late(self) -> None:
        """Deliver what was held back, and wait until the server answered it or hung up."""
        assert self._held
        for from_server, to_server, data in self._held:
            to_server.write(data)
            while await from_server.read(1 << 16):
                if not from_server._buffer:  # type: ignore[attr-defined]
                    break

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._path)
        self._writers += [writer, to_server]
        back = asyncio.create_task(self._pump_back(from_server, writer))
        self._tasks.add(back)
        while data := await reader.read(1 << 16):
            if self._is_holding:
                back.cancel()
                self._held.append((from_server, to_server, data))
                return  # the server's side stays open: it never learns that the client went away
            to_server.write(data)
        to_server.close()
        back.cancel()

    async def _pump_back(self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await from_server.read(1 << 16):
            await asyncio.sleep(self.delay_s)
            writer.write(data)
        writer.close()
