"""Fair shares: how much was given to each tenant and flow lately, and therefore which of them is next.

The rule, for jobs that compete for the same slots: higher priority first; then the tenant that was given less; then,
within a tenant, the flow that was given less; then the earlier deadline; then the earlier arrival. A flow is a session,
or all jobs of one client without a session; its name is the key of the session. A session never overtakes itself,
whatever its jobs' priorities are.

What was given is counted as virtual time in milliseconds of audio (start-time fair queueing): each assignment charges
the job's declared duration, at least ``LEAST_MS``, and what the node measures beyond that is charged when it has the
audio. Virtual times within the same ``QUANTUM_MS`` count as equal, so that deadline and arrival decide between those
who were given about the same. Who begins to wait starts at the virtual time of the last one served: nobody saves up by
being silent, and nobody sheds its virtual time by pausing for a moment. Who was kept waiting for longer catches up with
``MAX_LAG_MS`` at most. When nobody waits, all is forgotten: a scheduler with free slots owes nobody anything.

Tenants are the border of trust: a client that names many tenants has the shares of many. Every operation costs
logarithmic time; of those who do not wait, the ``MAX_REMEMBERED`` with the latest virtual times are remembered.
"""

from typing import Generic, TypeVar

from ray_sched.core.job import SessionKey
from ray_sched.core.queue.priority_queue import PriorityQueue

KeyT = TypeVar("KeyT", bound=tuple[str, ...])

QUANTUM_MS = 10_000
LEAST_MS = 500
MAX_LAG_MS = 60_000
MAX_REMEMBERED = 10_000

Tenant = tuple[str]


class Shares(Generic[KeyT]):
    """The virtual time of each of several competitors, and how many jobs of each wait."""

    def __init__(self) -> None:
        self._virtual_ms: dict[KeyT, int] = {}
        self._waiting: dict[KeyT, int] = {}
        self._n_waiting = 0
        self._clock_ms = 0
        """The virtual time at which the last one served began."""
        self._idle: PriorityQueue[tuple[int, KeyT], KeyT] = PriorityQueue(lambda key: (self._virtual_ms[key], key))
        """Competitors without waiting jobs whose virtual time is remembered."""

    def waiting(self, key: KeyT) -> int:
        """How many jobs of this competitor wait."""
        return self._waiting.get(key, 0)

    def virtual_ms(self, key: KeyT) -> int:
        """The virtual time of this competitor, on the clock that all of them share."""
        return self._virtual_ms.get(key, self._clock_ms)

    def begin(self, key: KeyT) -> None:
        """Count one more job that waits."""
        n_waiting = self._waiting.get(key, 0)
        self._waiting[key] = n_waiting + 1
        self._n_waiting += 1
        if not n_waiting:
            self._virtual_ms[key] = max(self._virtual_ms.get(key, 0), self._clock_ms)
            self._idle.remove(key)

    def end(self, key: KeyT) -> None:
        """Count one job less that waits."""
        self._n_waiting -= 1
        self._waiting[key] -= 1
        if self._waiting[key]:
            return
        del self._waiting[key]
        if self._n_waiting:
            self._remember(key)
        else:
            self._virtual_ms.clear()
            self._idle.clear()
            self._clock_ms = 0

    def charge(self, key: KeyT, audio_ms: int, *, is_served: bool) -> None:
        """Charge so much audio. ``is_served``: for a job that was next, so the clock moves to where it began."""
        if not self._n_waiting:
            return
        start_ms = max(self._virtual_ms.get(key, self._clock_ms), self._clock_ms - MAX_LAG_MS)
        if is_served:
            self._clock_ms = max(self._clock_ms, start_ms)
        self._virtual_ms[key] = start_ms + audio_ms
        if key not in self._waiting:
            self._remember(key)

    def _remember(self, key: KeyT) -> None:
        """Keep the virtual time of one that does not wait while it is ahead of the clock, if there is room."""
        self._idle.enqueue(key)
        while (least := self._idle.head()) is not None:
            (virtual_ms, other), _ = least
            if virtual_ms > self._clock_ms and len(self._idle) <= MAX_REMEMBERED:
                return
            self._idle.remove(other)
            del self._virtual_ms[other]

    def __len__(self) -> int:
        return len(self._virtual_ms)


class FairShares:
    """The shares of tenants, and of the flows within each."""

    def __init__(self) -> None:
        self.tenants: Shares[Tenant] = Shares()
        self._flows: dict[str, Shares[SessionKey]] = {}

    def tenant_quanta(self, tenant: str) -> int:
        """The virtual time of a tenant in whole quanta. Smaller is sooner."""
        return self.tenants.virtual_ms((tenant,)) // QUANTUM_MS

    def flow_quanta(self, tenant: str, flow: SessionKey) -> int:
        """The virtual time of a flow, among those of its tenant, in whole quanta. Smaller is sooner."""
        return self.virtual_ms(tenant, flow) // QUANTUM_MS

    def virtual_ms(self, tenant: str, flow: SessionKey) -> int:
        """The virtual time of a flow, on the clock that all flows of its tenant share."""
        flows = self._flows.get(tenant)
        return flows.virtual_ms(flow) if flows is not None else 0

    def waiting(self, tenant: str, flow: SessionKey) -> tuple[int, int]:
        """How many jobs of the tenant wait, and how many of the flow."""
        flows = self._flows.get(tenant)
        return self.tenants.waiting((tenant,)), flows.waiting(flow) if flows is not None else 0

    def begin(self, tenant: str, flow: SessionKey) -> None:
        """Count one more job of this flow that waits."""
        self.tenants.begin((tenant,))
        if tenant not in self._flows:
            self._flows[tenant] = Shares()
        self._flows[tenant].begin(flow)

    def end(self, tenant: str, flow: SessionKey) -> None:
        """Count one job less of this flow that waits."""
        self.tenants.end((tenant,))
        flows = self._flows[tenant]
        flows.end(flow)
        if not self.tenants.waiting((tenant,)):
            del self._flows[tenant]

    def charge(self, tenant: str, flow: SessionKey, audio_ms: int, *, is_served: bool) -> None:
        """Charge a tenant and its flow for so much audio, see :meth:`Shares.charge`."""
        self.tenants.charge((tenant,), audio_ms, is_served=is_served)
        flows = self._flows.get(tenant)
        if flows is not None:
            flows.charge(flow, audio_ms, is_served=is_served)
