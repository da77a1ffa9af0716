"""What doctor says of a real Redis server."""

import redis

from ray_sched.core.views.health import Check
from ray_sched.store.checkup import check_redis


async def by_name(url: str) -> dict[str, Check]:
    return {check.what: check for check in await check_redis(url, 2.0)}


async def test_the_embedded_server_is_all_that_is_asked_for(redis_url: str) -> None:
    found = await by_name(redis_url)
    assert [check for what, check in found.items() if not check.is_ok and what != "Redis answers"] == []
    assert found["Redis keeps what it is given"].found == "append-only file"


async def test_a_server_that_evicts_and_forgets_is_told_so(redis_url: str, peek: "redis.Redis") -> None:
    peek.config_set("appendonly", "no")
    peek.config_set("maxmemory", "100mb")
    peek.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = await by_name(redis_url)
    finally:
        peek.config_set("maxmemory-policy", "noeviction")
        peek.config_set("maxmemory", "0")
        peek.config_set("appendonly", "yes")
    assert "appendonly yes" in found["Redis keeps what it is given"].advice
    assert "noeviction" in found["Redis throws nothing away"].advice


async def test_a_server_that_is_not_there_is_one_line() -> None:
    (check,) = await check_redis("redis://127.0.0.1:1", 0.5)
    assert (check.is_ok, check.advice) == (False, "start it, or correct store.redis_url")
