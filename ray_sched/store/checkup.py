"""What there is to know of a Redis before it is trusted with jobs: asked once, by people."""

import time
from collections.abc import Iterator

from ray_sched.core.ports import StoreDownError
from ray_sched.core.views.health import Check
from ray_sched.store.connection import StoreConnection

_N_PINGS = 5
_SLOW_MS = 10.0
_CLOCK_S = 1.0


async def check_redis(url: str, timeout_s: float) -> list[Check]:
    """Whether it answers, how fast, what it promises, and its clock. Raises SchedError for an address of no kind."""
    connection = StoreConnection(url, timeout_s)
    try:
        pings_ms = [await _ping_ms(connection) for _ in range(_N_PINGS)]
        info, policy, clock = await connection.exchange(("INFO",), ("CONFIG", "GET", "maxmemory-policy"), ("TIME",))
    except StoreDownError as error:
        advice = "start it, or correct store.redis_url"
        return [Check(what="Redis answers", is_ok=False, found=str(error), advice=advice)]
    finally:
        await connection.close()
    facts = _facts(info)
    off_s = int(clock[0]) - time.time()
    return [
        _answers(connection.place, facts, min(pings_ms)),
        *_promises(facts, policy[1].decode() if isinstance(policy, list) and policy else "unknown"),
        Check(
            what="Redis's clock",
            is_ok=abs(off_s) <= _CLOCK_S + 1,  # it is told in whole seconds
            found=f"{off_s:+.0f} s from this machine's",
            advice="" if abs(off_s) <= _CLOCK_S + 1 else "let both machines take their time from the network (NTP)",
        ),
    ]


async def _ping_ms(connection: StoreConnection) -> float:
    began_s = time.perf_counter()
    await connection.exchange(("PING",))
    return (time.perf_counter() - began_s) * 1000


def _facts(info: object) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _answers(place: str, facts: dict[str, str], ping_ms: float) -> Check:
    name = (
        f"{facts.get('server_name', 'redis')} {facts.get('valkey_version') or facts.get('redis_version', '')}".strip()
    )
    is_fast = ping_ms <= _SLOW_MS
    advice = "" if is_fast else "every step waits for it: run it nearer to the head"
    return Check(what="Redis answers", is_ok=is_fast, found=f"{place}, {name}, in {ping_ms:.1f} ms", advice=advice)


def _promises(facts: dict[str, str], policy: str) -> Iterator[Check]:
    is_saved = facts.get("aof_enabled") == "1"
    yield Check(
        what="Redis keeps what it is given",
        is_ok=is_saved,
        found="append-only file" if is_saved else "no append-only file",
        advice="" if is_saved else "set appendonly yes: a restart forgets jobs otherwise",
    )
    is_kept = policy == "noeviction" or policy.startswith("volatile") or facts.get("maxmemory") == "0"
    yield Check(
        what="Redis throws nothing away",
        is_ok=is_kept,
        found=f"maxmemory-policy {policy}, maxmemory {facts.get('maxmemory_human', 'unknown')}",
        advice="" if is_kept else "set maxmemory-policy noeviction: records of jobs would be evicted",
    )
    is_single = facts.get("cluster_enabled", "0") == "0"
    yield Check(
        what="Redis is one server",
        is_ok=is_single,
        found="one server, or a primary with replicas" if is_single else "a Redis Cluster",
        advice="" if is_single else "name a server without cluster mode: a commit writes keys of several slots",
    )
