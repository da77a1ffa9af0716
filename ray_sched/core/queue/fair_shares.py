"""Fair shares: who has had how much lately, and therefore whose turn it is.

The rule, for jobs that compete for the same slots: higher priority first; then the tenant that has had less; then,
within a tenant, the flow that has had less; then the earlier deadline; then the earlier arrival. A flow is a session,
or all jobs of one client without a session. A session never overtakes itself, whatever its jobs' priorities are.

"Had" is virtual time in milliseconds of audio given to nodes (start-time fair queueing): each assignment charges the
job's declared duration, at least ``LEAST_MS``, and what the node measures beyond that is charged when it has the audio.
Amounts within the same ``QUANTUM_MS`` count as equal, so that deadline and arrival decide between those who have had
about the same. Who begins to wait starts where the last one served stood: nobody saves up by being silent, and nobody
sheds what it has had by pausing for a moment. Who was kept waiting for longer catches up with ``MAX_LAG_MS`` at most.
When nobody waits, all is forgotten: a scheduler with free slots owes nobody anything.

Tenants are the border of trust: a client that names many tenants has the shares of many. Every operation costs
logarithmic time; of those who do not wait, the ``MAX_REMEMBERED`` that have had most are remembered.
"""

from typing import Generic, TypeVar

from ray_sched.core.queue.priority_queue import PriorityQueue

KeyT = TypeVar("KeyT", bound=tuple[str, ...])

QUANTUM_MS = 10_000
LEAST_MS = 500
MAX_LAG_MS = 60_000
MAX_REMEMBERED = 10_000

Tenant = tuple[str]
Flow = tuple[str, str]
"""Client id and session, or an empty string: the client's jobs that have none."""


class Shares(Generic[KeyT]):
    """What each of several competitors has had, and how many jobs of each wait."""

    def __init__(self) -> None:
        self._had: dict[KeyT, int] = {}
        self._waiting: dict[KeyT, int] = {}
        self._n_waiting = 0
        self._served_at = 0
        """Where the last one served stood."""
        self._absent: PriorityQueue[tuple[int, KeyT], KeyT] = PriorityQueue(lambda key: (self._had[key], key))
        """Those who do not wait and are remembered."""

    def waiting(self, key: KeyT) -> int:
        """How many jobs of this one wait."""
        return self._waiting.get(key, 0)

    def had(self, key: KeyT) -> int:
        """What this one has had, in the time that all of them share."""
        return self._had.get(key, self._served_at)

    def begin(self, key: KeyT) -> None:
        """One more job waits."""
        n_waiting = self._waiting.get(key, 0)
        self._waiting[key] = n_waiting + 1
        self._n_waiting += 1
        if not n_waiting:
            self._had[key] = max(self._had.get(key, 0), self._served_at)
            self._absent.drop(key)

    def end(self, key: KeyT) -> None:
        """One of its jobs waits no more."""
        self._n_waiting -= 1
        self._waiting[key] -= 1
        if self._waiting[key]:
            return
        del self._waiting[key]
        if self._n_waiting:
            self._remember(key)
        else:
            self._had.clear()
            self._absent.clear()
            self._served_at = 0

    def charge(self, key: KeyT, audio_ms: int, *, is_served: bool) -> None:
        """It is given this much; ``is_served``: its turn had come."""
        if not self._n_waiting:
            return
        start = max(self._had.get(key, self._served_at), self._served_at - MAX_LAG_MS)
        if is_served:
            self._served_at = max(self._served_at, start)
        self._had[key] = start + audio_ms
        if key not in self._waiting:
            self._remember(key)

    def _remember(self, key: KeyT) -> None:
        """Who does not wait is remembered as long as it has had more than others, if there is room."""
        self._absent.put(key)
        while (least := self._absent.first()) is not None:
            (had, other), _ = least
            if had > self._served_at and len(self._absent) <= MAX_REMEMBERED:
                return
            self._absent.drop(other)
            del self._had[other]

    def __len__(self) -> int:
        return len(self._had)


class FairShares:
    """Tenants, and the flows within each."""

    def __init__(self) -> None:
        self.tenants: Shares[Tenant] = Shares()
        self._flows: dict[str, Shares[Flow]] = {}

    def turn_of_tenant(self, tenant: str) -> int:
        """Whose turn it is among tenants. Smaller is sooner."""
        return self.tenants.had((tenant,)) // QUANTUM_MS

    def turn_of_flow(self, tenant: str, flow: Flow) -> int:
        """Whose turn it is among the flows of a tenant. Smaller is sooner."""
        return self.had(tenant, flow) // QUANTUM_MS

    def had(self, tenant: str, flow: Flow) -> int:
        """What a flow has had, in the time that all flows of its tenant share."""
        flows = self._flows.get(tenant)
        return flows.had(flow) if flows is not None else 0

    def waiting(self, tenant: str, flow: Flow) -> tuple[int, int]:
        """How many jobs of the tenant wait, and how many of the flow."""
        flows = self._flows.get(tenant)
        return self.tenants.waiting((tenant,)), flows.waiting(flow) if flows is not None else 0

    def begin(self, tenant: str, flow: Flow) -> None:
        """One more job waits."""
        self.tenants.begin((tenant,))
        if tenant not in self._flows:
            self._flows[tenant] = Shares()
        self._flows[tenant].begin(flow)

    def end(self, tenant: str, flow: Flow) -> None:
        """One of its jobs waits no more."""
        self.tenants.end((tenant,))
        flows = self._flows[tenant]
        flows.end(flow)
        if not self.tenants.waiting((tenant,)):
            del self._flows[tenant]

    def charge(self, tenant: str, flow: Flow, audio_ms: int, *, is_served: bool) -> None:
        """So much is given to a job of this flow."""
        self.tenants.charge((tenant,), audio_ms, is_served=is_served)
        flows = self._flows.get(tenant)
        if flows is not None:
            flows.charge(flow, audio_ms, is_served=is_served)
