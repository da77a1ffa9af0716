"""What every Store promises, asked of real servers."""

import logging
from typing import TYPE_CHECKING

import msgspec
import pytest

from ray_sched.core.ports import Change, ForgetNode, SaveNode, SaveSpeeds, Store, StoreDownError, StoreEmptiedError
from ray_sched.store.keys import SCHEMA_VERSION
from ray_sched.store.redis_store import RedisStore, open_store
from tests.support.redis import forget, records, save

if TYPE_CHECKING:
    import redis


class Described(msgspec.Struct):
    job_id: str
    attempt: int = 1
    tenant: str | None = None
    is_late: bool = False
    services: tuple[str, ...] = ()


def test_the_redis_store_is_a_store(store: RedisStore) -> None:
    port: Store = store
    assert port is store


async def test_a_record_of_default_fields_is_read_back_byte_for_byte(store: RedisStore) -> None:  # bug 1
    record = msgspec.json.encode(Described("j1"))
    await store.commit([save("j1", record)])
    assert await records(store) == [record]
    assert msgspec.json.decode(record, type=Described) == Described("j1")


async def test_bytes_that_are_no_text_are_kept_as_they_are(store: RedisStore) -> None:
    await store.commit([save("j1", bytes(range(256)))])
    assert await records(store) == [bytes(range(256))]


async def test_a_job_has_one_record_whatever_happens_to_it(  # bug 2
    store: RedisStore, peek: "redis.Redis", prefix: str
) -> None:
    for record, is_open in ((b"pending", True), (b"assigned", True), (b"completed", False)):
        await store.commit([save("j1", record, is_open=is_open)])
        holders = [key for key in peek.keys(f"{prefix}:*") if peek.type(key) == b"string" and peek.get(key) == record]
        assert holders == [f"{prefix}:job:j1".encode()]
        assert await records(store) == [record]


async def test_open_and_ended_jobs_are_loaded(store: RedisStore) -> None:
    await store.commit([save("j1", b"1"), save("j2", b"2", is_open=False), save("j3", b"3")])
    assert await records(store) == [b"1", b"2", b"3"]


async def test_a_job_is_indexed_once_and_until_it_is_forgotten(
    store: RedisStore, peek: "redis.Redis", prefix: str
) -> None:
    for is_open in (True, False):
        await store.commit([save("j1", is_open=is_open)])
        sets = [key for key in peek.keys(f"{prefix}:*") if peek.type(key) == b"set"]
        assert sets == [f"{prefix}:jobs".encode()]
        assert peek.smembers(sets[0]) == {b"j1"}
    await store.commit([forget("j1")])
    assert peek.exists(f"{prefix}:jobs") == 0


async def test_the_last_of_several_saves_in_a_commit_counts(store: RedisStore) -> None:
    await store.commit([save("j1", b"1"), save("j1", b"2"), save("j1", b"3")])
    assert await records(store) == [b"3"]


async def test_changes_of_a_commit_take_effect_in_their_order(store: RedisStore) -> None:
    await store.commit([save("j1", b"old"), save("j2", b"2"), forget("j1"), forget("j2"), save("j1", b"new")])
    assert await records(store) == [b"new"]


async def test_a_repeated_commit_changes_nothing(store: RedisStore, peek: "redis.Redis", prefix: str) -> None:
    changes: list[Change] = [save("j1", b"1"), save("j2", b"2", is_open=False), SaveNode(node_id="n1", record=b"n")]
    await store.commit(changes)
    once = sorted(peek.keys(f"{prefix}:*"))
    await store.commit(changes)
    assert sorted(peek.keys(f"{prefix}:*")) == once
    assert await records(store) == [b"1", b"2"]


async def test_an_empty_commit_changes_nothing(store: RedisStore, peek: "redis.Redis", prefix: str) -> None:
    await store.commit([])
    assert peek.keys(f"{prefix}:*") == [f"{prefix}:schema".encode()]


async def test_a_commit_too_large_for_one_transaction_is_written_in_order(store: RedisStore) -> None:
    mebibyte = b"x" * 2**20
    old: list[Change] = [save(f"j{number}", mebibyte) for number in range(10)]
    new: list[Change] = [save(f"j{number}", b"%04d" % number) for number in range(5_000)]
    await store.commit([*old, *new, forget("j0")])
    assert await records(store) == [b"%04d" % number for number in range(1, 5_000)]


async def test_an_emptied_store_is_noticed_until_all_is_saved_again(
    redis_url: str, prefix: str, peek: "redis.Redis"
) -> None:
    store = await open_store(redis_url, prefix, actor="dispatcher")
    await store.vouch()
    await store.commit([save("j1", b"1")])
    peek.delete(*peek.keys(f"{prefix}:*"))
    for changes in ([], [save("j2", b"2")]):
        with pytest.raises(StoreEmptiedError, match="lost what was saved"):
            await store.commit(changes)
    assert await records(store) == [b"2"]
    await store.vouch()
    await store.commit([save("j1", b"1")])
    assert await records(store) == [b"1", b"2"]
    assert peek.get(f"{prefix}:schema") == str(SCHEMA_VERSION).encode()
    await store.close()


async def test_each_actor_notices_for_itself_that_the_store_was_emptied(
    redis_url: str, prefix: str, peek: "redis.Redis"
) -> None:
    dispatcher, registry = [await open_store(redis_url, prefix, actor=actor) for actor in ("dispatcher", "registry")]
    await dispatcher.vouch()
    await registry.vouch()
    peek.delete(*peek.keys(f"{prefix}:*"))
    for store in (dispatcher, registry):
        with pytest.raises(StoreEmptiedError):
            await store.commit([])
        await store.vouch()
        await store.commit([])
        await store.close()


async def test_more_jobs_than_a_page_are_all_loaded_once(store: RedisStore) -> None:
    await store.commit([save(f"j{number}", b"%05d" % number) for number in range(3000)])
    assert await records(store) == [b"%05d" % number for number in range(3000)]


async def test_a_key_of_another_type_hides_only_itself(  # bug 3
    store: RedisStore, peek: "redis.Redis", prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.commit([save("j1", b"1"), save("j2", b"2"), save("j3", b"3")])
    peek.delete(f"{prefix}:job:j2")
    peek.lpush(f"{prefix}:job:j2", "not a record")
    with caplog.at_level(logging.WARNING):
        assert await records(store) == [b"1", b"3"]
    assert [record.message for record in caplog.records] == [
        f"a list instead of a record under {prefix}:job:j2; 1 jobs like it are skipped"
    ]
    assert peek.smembers(f"{prefix}:jobs") == {b"j1", b"j3"}


async def test_a_record_that_is_gone_leaves_the_indexes(
    store: RedisStore, peek: "redis.Redis", prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.commit([save("j1", b"1"), save("j2", b"2", is_open=False)])
    peek.delete(f"{prefix}:job:j2")
    with caplog.at_level(logging.WARNING):
        assert await records(store) == [b"1"]
    assert f"no record under {prefix}:job:j2" in caplog.text
    assert peek.smembers(f"{prefix}:jobs") == {b"j1"}


async def test_strangers_keys_are_neither_read_nor_touched(store: RedisStore, peek: "redis.Redis", prefix: str) -> None:
    peek.lpush(f"{prefix}:job:stranger", "x")
    peek.set(f"{prefix}:node:stranger", "x")
    assert await records(store) == []
    assert await store.load_nodes() == {}
    assert peek.exists(f"{prefix}:job:stranger", f"{prefix}:node:stranger") == 2


async def test_only_terminal_jobs_expire(redis_url: str, prefix: str, peek: "redis.Redis") -> None:
    store = await open_store(redis_url, prefix, job_ttl_s=777)
    await store.commit([save("j1"), save("j2", is_open=False)])
    await store.close()
    assert peek.ttl(f"{prefix}:job:j1") == -1
    assert 770 <= peek.ttl(f"{prefix}:job:j2") <= 777


async def test_nothing_but_the_schema_and_nodes_remains_when_all_jobs_are_forgotten(
    store: RedisStore, peek: "redis.Redis", prefix: str
) -> None:
    jobs = [f"j{number}" for number in range(100)]
    await store.commit([SaveNode(node_id="n1", record=b"n")])
    await store.commit([save(job) for job in jobs])
    await store.commit([save(job, is_open=False) for job in jobs[:50]])
    await store.commit([forget(job) for job in jobs])
    assert sorted(peek.keys(f"{prefix}:*")) == [f"{prefix}:{name}".encode() for name in ("node:n1", "nodes", "schema")]


async def test_forgetting_what_was_never_there_is_nothing(store: RedisStore) -> None:
    await store.commit([forget("j1"), ForgetNode(node_id="n1")])
    assert await records(store) == []


async def test_nodes_are_read_back_until_forgotten(store: RedisStore) -> None:
    await store.commit([SaveNode(node_id="n1", record=b"1"), SaveNode(node_id="n:2 é", record=b"2")])
    assert await store.load_nodes() == {"n1": b"1", "n:2 é": b"2"}
    await store.commit([ForgetNode(node_id="n1")])
    assert await store.load_nodes() == {"n:2 é": b"2"}


async def test_a_node_without_a_record_hides_only_itself(
    store: RedisStore, peek: "redis.Redis", prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.commit([SaveNode(node_id="n1", record=b"1"), SaveNode(node_id="n2", record=b"2")])
    peek.delete(f"{prefix}:node:n2")
    assert await store.load_nodes() == {"n1": b"1"}
    assert f"{prefix}:node:n2" in caplog.text


async def test_speeds_are_read_back_and_go_with_their_node(store: RedisStore) -> None:
    await store.commit(
        [
            SaveSpeeds(node_id="n1", speeds={"en:es": 3.25}),
            SaveSpeeds(node_id="n2", speeds={"es:en": 0.1, "en:en": 9.0}),
        ]
    )
    assert await store.load_speeds() == {"n1": {"en:es": 3.25}, "n2": {"es:en": 0.1, "en:en": 9.0}}
    await store.commit([ForgetNode(node_id="n2")])
    assert await store.load_speeds() == {"n1": {"en:es": 3.25}}


async def test_two_prefixes_share_a_server_without_meeting(store: RedisStore, redis_url: str, prefix: str) -> None:
    other = await open_store(redis_url, f"{prefix}_other")
    await store.commit([save("j1", b"mine")])
    await other.commit([save("j1", b"other")])
    assert await records(store) == [b"mine"]
    assert await records(other) == [b"other"]
    await other.close()


async def test_a_ping_takes_a_few_milliseconds(store: RedisStore) -> None:
    assert 0 < await store.ping() < 1000


async def test_a_closed_store_says_so(store: RedisStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreDownError, match="was closed"):
        await store.commit([save("j1")])
