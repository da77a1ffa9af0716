"""The store on Redis. Speaks the domain's verbs, decides nothing, keeps no copy of what it wrote."""

import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from redis.exceptions import ResponseError

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.ports import Change, StoreDownError, StoreEmptiedError
from ray_sched.store.commands import Command, transactions_for
from ray_sched.store.connection import PasswordRefusedError, StoreConnection
from ray_sched.store.keys import SCHEMA_VERSION, Keys
from ray_sched.store.migrations import STEPS, migrate

log = logging.getLogger(__name__)

DEFAULT_PREFIX: Final = "ray_sched"
DEFAULT_TIMEOUT_S: Final = 2.0
DEFAULT_JOB_TTL_S: Final = 300 + 86_400
"""Seconds: finished jobs are kept 300 s and forgotten by clean-up; Redis itself waits a day longer."""

Speed = Annotated[float, msgspec.Meta(gt=0, le=1e12)]

PAGE: Final = 500
"""About how many jobs one round trip of a load fetches."""
_MAX_DIGITS: Final = 9
"""Of a schema version that is read as a number."""


class RedisStore:
    """Implements :class:`ray_sched.core.ports.Store`.

    Guarantees: one commit is one transaction and one round trip (one too large for that: several, in order); a method
    that raises :class:`StoreDownError` does so within ``timeout_s`` seconds (a load: per page; a large commit: per
    transaction) and the next call starts on a clean connection; a commit that raised may or may not have been written,
    in part or as a whole, but is never written after a later one.
    """

    def __init__(
        self,
        url: str,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        job_ttl_s: int = DEFAULT_JOB_TTL_S,
        actor: str = "",
    ) -> None:
        """``actor``: whose store this is, if it is one that vouches for what it has saved."""
        self._keys = Keys(prefix)
        self._job_ttl_s = job_ttl_s
        self._known = self._keys.known(actor)
        self._has_vouched = False
        self._connection = StoreConnection(url, timeout_s)

    @property
    def place(self) -> str:
        """Where it is, for people; never a password."""
        return self._connection.place

    async def vouch(self) -> None:
        """Say that all this actor has ever saved is there: from now on a commit notices if it is lost.

        Raises :class:`SchedError` where this code must not write.
        """
        await self.check_schema()
        await self._ask(("SET", self._known, "1"))
        self._has_vouched = True

    async def commit(self, changes: Sequence[Change]) -> None:
        """Write all changes, in order. Idempotent: may be repeated. See :class:`ray_sched.core.ports.Store`."""
        is_known = True
        for transaction in transactions_for(changes, self._keys, self._job_ttl_s) if changes else ([],):
            replies = await self._ask(("EXISTS", self._known), *transaction)
            is_known = is_known and bool(replies[0])
        if self._has_vouched and not is_known:
            raise StoreEmptiedError(f"{self.place} has lost what was saved")

    async def load_jobs(self) -> AsyncIterator[bytes]:
        """Every job record, each once, in no order, a page at a time.

        An indexed job without a record is skipped, taken out of the index and reported in one warning.
        """
        seen: set[bytes] = set()
        lost: list[bytes] = []
        cursor = b"0"
        while True:
            ((cursor, page),) = await self._ask(("SSCAN", self._keys.jobs, cursor, "COUNT", str(PAGE)))
            fresh = [job_id for job_id in page if job_id not in seen]
            seen.update(fresh)
            for job_id, record in zip(fresh, await self._job_records(fresh), strict=True):
                if record is None:
                    lost.append(job_id)
                else:
                    yield record
            if cursor == b"0":
                break
        if lost:
            await self._drop_from_index(lost)

    async def load_nodes(self) -> dict[str, bytes]:
        """Every node record by node id."""
        (members,) = await self._ask(("SMEMBERS", self._keys.nodes))
        node_ids = [_id(member) for member in members]
        if not node_ids:
            return {}
        (records,) = await self._ask(("MGET", *map(self._keys.node, node_ids)))
        lost = [node_id for node_id, record in zip(node_ids, records, strict=True) if record is None]
        if lost:
            log.warning("no record under %s; %d nodes like it are skipped", self._keys.node(lost[0]), len(lost))
        return {node_id: record for node_id, record in zip(node_ids, records, strict=True) if record is not None}

    async def load_speeds(self) -> dict[str, dict[str, float]]:
        """Learned speeds: node id to pair to audio-seconds per second."""
        (flat,) = await self._ask(("HGETALL", self._keys.speed))
        speeds = dict(zip(flat[::2], flat[1::2], strict=True))
        return {_id(node): _speeds(text) for node, text in speeds.items()}

    async def ping(self) -> float:
        """Milliseconds of one round trip."""
        started = time.perf_counter()
        await self._ask(("PING",))
        return (time.perf_counter() - started) * 1000

    async def close(self) -> None:
        """Give the connection back; every later call raises :class:`StoreDownError`."""
        await self._connection.close()

    async def check_schema(self) -> None:
        """Write the schema version into a fresh Redis; raise :class:`SchedError` where this code must not write."""
        version = await self._schema()
        if version != SCHEMA_VERSION:
            raise self._refused(f"holds data of schema {version}, which has to become {SCHEMA_VERSION} first")

    async def prepare_schema(self) -> None:
        """As ``check_schema``, and data of an earlier schema becomes that of the present one."""
        version = await self._schema()
        if version < SCHEMA_VERSION:
            log.info("%s holds data of schema %d, which becomes %d now", self.place, version, SCHEMA_VERSION)
            await migrate(self._ask, self._keys, version)

    async def _schema(self) -> int:
        """The version of the data, one that this code has to do with; else :class:`SchedError`."""
        fixed = self._keys.fixed_types()
        found = await self._ask(*[("TYPE", key) for key in fixed])
        for (key, expected), kind in zip(fixed.items(), found, strict=True):
            if kind.decode() not in (expected, "none"):
                raise self._refused(f"holds a {kind.decode()} under {key}, where ray-sched keeps a {expected}")
        _, stored = await self._ask(("SETNX", self._keys.schema, str(SCHEMA_VERSION)), ("GET", self._keys.schema))
        version = int(stored) if stored.isdigit() and len(stored) <= _MAX_DIGITS else 0
        if version != SCHEMA_VERSION and version not in STEPS:
            known = f"{', '.join(map(str, STEPS))} and {SCHEMA_VERSION}"
            raise self._refused(f"holds data of schema {_id(stored)[:80]!r} where this ray-sched reads {known}")
        return version

    def _refused(self, finding: str) -> SchedError:
        return SchedError(
            Code.SCHEDULER_DEPENDENCY_DOWN,
            f"{self.place} {finding}; use the ray-sched that wrote it, or another store.prefix than"
            f" {self._keys.prefix!r}",
        )

    async def _job_records(self, job_ids: Sequence[bytes]) -> list[bytes | None]:
        if not job_ids:
            return []
        (records,) = await self._ask(("MGET", *[self._keys.job(_id(job_id)) for job_id in job_ids]))
        return list(records)  # MGET answers nil for a key of another type, too

    async def _drop_from_index(self, job_ids: Sequence[bytes]) -> None:
        """Job ids are never used again, so one without a record is on its way out or lost: no save can be undone."""
        (kind,) = await self._ask(("TYPE", key := self._keys.job(_id(job_ids[0]))))
        what = "no record" if kind == b"none" else f"a {kind.decode()} instead of a record"
        log.warning("%s under %s; %d jobs like it are skipped", what, key, len(job_ids))
        await self._ask(("SREM", self._keys.jobs, *job_ids))

    async def _ask(self, *commands: Command) -> list[Any]:
        """Replies to the commands; any error reply, also one inside a transaction, is :class:`StoreDownError`."""
        replies = await self._connection.exchange(*commands)
        inner = replies[-1] if isinstance(replies[-1], list) else ()
        for reply in (*replies, *inner):
            if isinstance(reply, ResponseError):
                raise StoreDownError(f"{self.place}: {reply}") from reply
        return replies


def _id(name: bytes) -> str:
    """An id as it was written; one that is no text was written by somebody else, and nothing is found under it."""
    return name.decode(errors="replace")


def _speeds(text: bytes) -> dict[str, float]:
    """What was learned, or nothing: it is learned again."""
    try:
        return msgspec.json.decode(text, type=dict[str, Speed])
    except (msgspec.DecodeError, ValueError):
        log.warning("speeds that cannot be read are forgotten: %r", text[:80])
        return {}


async def open_store(
    url: str,
    prefix: str = DEFAULT_PREFIX,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    job_ttl_s: int = DEFAULT_JOB_TTL_S,
    actor: str = "",
) -> RedisStore:
    """A store that answers and whose data is of the present schema, or a :class:`SchedError` that says what to do.

    Within a bound, unless data of an earlier schema has to be migrated, which takes as long as there is of it.
    """
    store = RedisStore(url, prefix, timeout_s, job_ttl_s, actor)
    try:
        await store.ping()
        await store.prepare_schema()
    except PasswordRefusedError:
        await store.close()
        raise SchedError(
            Code.SCHEDULER_DEPENDENCY_DOWN, f"{store.place} refused to log in; check the password in store.redis_url"
        ) from None
    except StoreDownError as error:
        await store.close()
        raise SchedError(
            Code.SCHEDULER_DEPENDENCY_DOWN,
            f"{store.place} does not answer; start it or correct store.redis_url ({error})",
        ) from error
    except SchedError:
        await store.close()
        raise
    return store
