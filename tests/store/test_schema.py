"""Data that an earlier ray-sched has left: migrated, read with defaults, or refused with a sentence."""

import json
from pathlib import Path

import msgspec
import pytest
import redis

from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import from_record
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.ports import StoreDownError
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules
from ray_sched.store.keys import SCHEMA_VERSION, Keys
from ray_sched.store.migrations import STEPS, Ask
from ray_sched.store.redis_store import open_store
from tests.support.redis import records

SCHEMAS = Path(__file__).parent / "schemas"
"""What a real Redis held after the ray-sched of that version had run: as commands that write it."""


def write_schema(peek: "redis.Redis", version: int, prefix: str) -> None:
    for command in json.loads((SCHEMAS / f"{version}.json").read_text(encoding="utf-8")):
        name, key, *words = command
        peek.execute_command(name, key.replace("ray_sched:", f"{prefix}:", 1), *words)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("version", sorted(STEPS))
async def test_data_of_an_earlier_schema_becomes_that_of_the_present_one(
    redis_url: str, prefix: str, peek: "redis.Redis", version: int
) -> None:
    write_schema(peek, version, prefix)
    store = await open_store(redis_url, prefix)
    names = {bytes(key).decode().split(":")[1] for key in peek.scan_iter(f"{prefix}:*")}
    assert names == {"schema", "jobs", "job", "nodes", "node", "speed"}
    assert peek.get(f"{prefix}:schema") == str(SCHEMA_VERSION).encode()
    await store.close()


@pytest.mark.parametrize("version", sorted(STEPS))
async def test_a_fresh_scheduler_goes_on_with_the_jobs_of_an_old_one(
    redis_url: str, prefix: str, peek: "redis.Redis", version: int
) -> None:
    write_schema(peek, version, prefix)
    store = await open_store(redis_url, prefix)
    brain = DispatchBrain("new", DispatchRules(), DeliveryRules(), SelectionRules())
    jobs = [from_record(record) for record in await records(store)]
    brain.restore(jobs, now_ms=max(job.created_at_ms for job in jobs) + 60_000)
    assert {job.spec.request_id: str(job.status) for job in brain.jobs.values()} == {
        "talk-0": "completed",
        "talk-1": "completed",
        "talk-3": "completed",
        "spoken: 1": "completed",
        "never": "failed",
        "cancelled": "cancelled",
        "waits": "pending",
        "runs": "assigned",
    }
    assert [job.spec.request_id for job in jobs if job.is_terminal and not job.is_delivered] == ["talk-3"]
    assert brain.sessions["c1", "talk"].next_index == 2
    (node,) = [msgspec.json.decode(record, type=NodeRecord) for record in (await store.load_nodes()).values()]
    assert (node.declaration.node, node.incarnation, node.pool) == ("node-a", 3, "echo/asr=en")
    assert list(await store.load_speeds()) == ["node-a"]
    await store.close()


@pytest.mark.parametrize("version", sorted(STEPS))
async def test_a_migration_that_was_interrupted_is_done_again(
    redis_url: str, prefix: str, peek: "redis.Redis", monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    write_schema(peek, 1, prefix)

    async def break_off(ask: Ask, keys: Keys) -> None:
        await STEPS[version](ask, keys)
        raise StoreDownError("gone in the middle")

    with monkeypatch.context() as patch:
        patch.setattr("ray_sched.store.migrations.STEPS", {**STEPS, version: break_off})
        with pytest.raises(SchedError, match="gone in the middle"):
            await open_store(redis_url, prefix)
    assert peek.get(f"{prefix}:schema") == str(version).encode()
    store = await open_store(redis_url, prefix)
    assert peek.get(f"{prefix}:schema") == str(SCHEMA_VERSION).encode()
    assert peek.keys(f"{prefix}:request:*") == []
    assert peek.exists(f"{prefix}:open") == 0
    await store.close()


async def test_a_record_that_cannot_be_read_does_not_keep_the_others_from_being_migrated(
    redis_url: str, prefix: str, peek: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    write_schema(peek, 1, prefix)
    peek.sadd(f"{prefix}:jobs", "by hand", b"\xff")
    peek.set(f"{prefix}:job:by hand", "{oops")
    store = await open_store(redis_url, prefix)
    assert "1 records of jobs cannot be taken up and are left where they are" in caplog.text
    assert peek.keys(f"{prefix}:request:*") == []
    assert peek.get(f"{prefix}:job:by hand") == b"{oops"
    await store.close()


async def test_an_id_that_is_no_text_keeps_no_scheduler_from_starting(
    redis_url: str, prefix: str, peek: "redis.Redis"
) -> None:
    write_schema(peek, 2, prefix)
    store = await open_store(redis_url, prefix)
    jobs, nodes = await records(store), await store.load_nodes()
    peek.sadd(f"{prefix}:jobs", b"\xff")
    peek.sadd(f"{prefix}:nodes", b"\xff")
    assert (sorted(await records(store)), await store.load_nodes()) == (sorted(jobs), nodes)
    assert sorted(peek.smembers(f"{prefix}:jobs")) == sorted(from_record(record).job_id.encode() for record in jobs)
    await store.close()


@pytest.mark.parametrize("stored", ["4", "17", "0", "-1", "new", ""])
async def test_data_of_a_newer_or_no_schema_is_refused_and_not_touched(
    redis_url: str, prefix: str, peek: "redis.Redis", stored: str
) -> None:
    peek.set(f"{prefix}:schema", stored)
    refusal = f"holds data of schema '{stored}' where this ray-sched reads 1, 2 and 3"
    with pytest.raises(SchedError, match=refusal) as no:
        await open_store(redis_url, prefix)
    assert no.value.code is Code.SCHEDULER_DEPENDENCY_DOWN
    assert peek.keys(f"{prefix}:*") == [f"{prefix}:schema".encode()]


@pytest.mark.parametrize("stored", [b"\xff", b"9" * 5_000], ids=["no text", "5000 digits"])
async def test_a_schema_that_is_no_version_at_all_is_refused_with_a_sentence(
    redis_url: str, prefix: str, peek: "redis.Redis", stored: bytes
) -> None:
    peek.set(f"{prefix}:schema", stored)
    with pytest.raises(SchedError, match=r"holds data of schema '.{1,80}' where this ray-sched reads 1, 2 and 3"):
        await open_store(redis_url, prefix)
    assert peek.get(f"{prefix}:schema") == stored


async def test_an_actor_does_not_write_into_data_of_another_schema(
    redis_url: str, prefix: str, peek: "redis.Redis"
) -> None:
    store = await open_store(redis_url, prefix, actor="dispatcher")
    for stored in ("1", "2", "4"):
        peek.set(f"{prefix}:schema", stored)
        with pytest.raises(SchedError, match="holds data of schema"):
            await store.vouch()
    await store.close()
