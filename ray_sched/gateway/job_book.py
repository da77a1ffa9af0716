"""The jobs and sessions that a gateway keeps for its tenants, each found by its own tenant only."""

import asyncio
import time
from collections.abc import Iterator

from ray_sched.client.client import Client
from ray_sched.client.results import JobHandle
from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.limits import Limits
from ray_sched.gateway.session_log import SessionLog

KEPT_S = 300.0
"""So long a job is kept after its end, and a session after its last use."""
_MAX_ENDED = 1_000
_MAX_OPEN = 4_000
_RETRY_MS = 1_000


class JobBook:
    """One tenant's jobs, the newest last."""

    def __init__(self) -> None:
        self._open: dict[str, JobHandle] = {}
        self._ended: dict[str, tuple[float, JobHandle]] = {}

    def check_room(self) -> None:
        """Raises SchedError OVERLOADED when too many jobs have not ended."""
        self._sweep()
        if len(self._open) >= _MAX_OPEN:
            raise SchedError(Code.OVERLOADED, f"{len(self._open)} jobs have not ended; try again later", _RETRY_MS)

    def add(self, handle: JobHandle) -> None:
        """A job that was taken."""
        self._open[handle.job_id] = handle

    def find(self, job_id: str) -> JobHandle | None:
        """The job, if it is kept."""
        self._sweep()
        ended = self._ended.get(job_id)
        return ended[1] if ended else self._open.get(job_id)

    def _sweep(self) -> None:
        now_s = time.monotonic()
        for job_id in [job_id for job_id, handle in self._open.items() if handle.is_done]:
            self._ended[job_id] = (now_s, self._open.pop(job_id))
        n_over = len(self._ended) - _MAX_ENDED
        old = [
            job_id for n, (job_id, (at_s, _)) in enumerate(self._ended.items()) if n < n_over or at_s < now_s - KEPT_S
        ]
        for job_id in old:
            del self._ended[job_id]


class SessionBook:
    """All tenants' sessions."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._logs: dict[tuple[str, str], SessionLog] = {}

    async def open(self, tenant: str, client: Client, name: str) -> SessionLog:
        """The session, from now on if it is new. Raises SchedError OVERLOADED when the tenant has too many."""
        log = self._logs.get((tenant, name))
        if log is None:
            await self._sweep(tenant)
            self._limits.open_session(tenant)
            log = self._logs[tenant, name] = SessionLog(client.session(name), time.monotonic())
        log.used_at_s = time.monotonic()
        return log

    async def end(self, tenant: str, name: str) -> bool:
        """Whether there was one; it has ended."""
        log = self._logs.pop((tenant, name), None)
        if log is None:
            return False
        self._limits.close_session(tenant)
        await log.end()
        return True

    async def end_all(self) -> None:
        """The gateway ends."""
        await asyncio.gather(*[self.end(*key) for key in list(self._logs)])

    async def _sweep(self, tenant: str) -> None:
        for name in list(self._idle(tenant, time.monotonic() - KEPT_S)):
            await self.end(tenant, name)

    def _idle(self, tenant: str, since_s: float) -> Iterator[str]:
        for (owner, name), log in self._logs.items():
            if owner == tenant and not (log.n_readers or log.n_open_jobs) and log.used_at_s < since_s:
                yield name
