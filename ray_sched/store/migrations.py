"""How data of an earlier schema becomes that of the present one: one step per version, each of which may be repeated.

A step ends with its version number, so one that was interrupted is done again. No scheduler runs meanwhile: only
``open_store`` migrates, before there are actors.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from ray_sched.core.records import read_back
from ray_sched.store.commands import Command
from ray_sched.store.keys import SCHEMA_VERSION, Keys

log = logging.getLogger(__name__)

PAGE: Final = "500"

Ask = Callable[..., Awaitable[list[Any]]]
"""Sends commands, gives their replies. Raises StoreDownError."""


class Migration(Protocol):
    """From one version to the next."""

    async def __call__(self, ask: Ask, keys: Keys) -> None:
        """Change what is there; start from whatever an interrupted one has left."""
        ...


class _Spec(msgspec.Struct):
    request_id: str


class _Job(msgspec.Struct):
    """What the step below has to know of a job's record."""

    client_id: str
    spec: _Spec


_decode_job = msgspec.json.Decoder(_Job).decode


async def _drop_request_keys(ask: Ask, keys: Keys) -> None:
    """1 to 2: ``request:{client}:{request}`` named the job that a request made, as the job's record does."""
    cursor = b"0"
    while True:
        ((cursor, job_ids),) = await ask(("SSCAN", keys.jobs, cursor, "COUNT", PAGE))
        if job_ids:
            (records,) = await ask(("MGET", *[keys.job(job_id.decode(errors="replace")) for job_id in job_ids]))
            read = read_back([record for record in records if record is not None], _decode_job)
            if read.n_left_out:
                log.warning(read.sentence("jobs"))
            names = [f"{_encoded(job.client_id)}:{_encoded(job.spec.request_id)}" for job in read.readable]
            if names:
                await ask(("DEL", *[f"{keys.prefix}:request:{name}" for name in names]))
        if cursor == b"0":
            return


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


async def _drop_open_set(ask: Ask, keys: Keys) -> None:
    """2 to 3: ``open`` held the ids of jobs that have not ended, which their records say, too."""
    await ask(("UNLINK", f"{keys.prefix}:open"))


STEPS: Final[dict[int, Migration]] = {1: _drop_request_keys, 2: _drop_open_set}
"""By the version that a step starts from."""


async def migrate(ask: Ask, keys: Keys, version: int) -> None:
    """Bring the data from ``version``, for which there are steps, to the present one."""
    while version < SCHEMA_VERSION:
        await STEPS[version](ask, keys)
        version += 1
        command: Command = ("SET", keys.schema, str(version))
        await ask(command)
        log.info("the data under %s: is of schema %d now", keys.prefix, version)
