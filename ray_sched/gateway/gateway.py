"""What all routes share: who asks, how much is in hand, and whether the gateway drains."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from starlette.requests import HTTPConnection

from ray_sched.client.client import Client
from ray_sched.core.views.explanation import Explanation
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.jobs import JobView
from ray_sched.gateway.job_book import SessionBook
from ray_sched.gateway.limits import Limits
from ray_sched.gateway.meters import Meters
from ray_sched.gateway.realtime.sessions import Sessions
from ray_sched.gateway.tenants import Tenants
from ray_sched.observe.samples import Sample
from ray_sched.settings import GatewayRules


class Administration(Protocol):
    """The scheduler as far as the gateway asks it more than a submitter would; ``system.start.Scheduler`` is one."""

    async def explain(self, job_id: str) -> Explanation:
        """Why a job is where it is. Raises SchedError UNKNOWN_JOB."""
        ...

    async def cancel(self, wanted: JobFilter) -> list[JobView]:
        """Cancel these jobs, whoever has submitted them."""
        ...

    async def metrics(self) -> list[Sample]:
        """What the scheduler's actors export."""
        ...


class Visitor(NamedTuple):
    """Who has sent a request."""

    tenant: str
    client: Client
    """The tenant's own."""


class Gateway:
    """The state of one application."""

    def __init__(
        self, make_client: Callable[[str], Client], rules: GatewayRules, administration: Administration
    ) -> None:
        """``make_client`` is given a tenant's name."""
        self.tenants = Tenants(make_client, rules.token_hashes, rules.origins)
        self.rules = rules
        self.limits = Limits(rules)
        self.meters = Meters()
        self.sessions = SessionBook(self.limits)
        self.live = Sessions(rules, self.limits, self.bring_audio)
        """Those of WebSockets."""
        self.administration = administration
        self.is_draining = False
        """Set when no new request is wanted: ``/readyz`` says so, and balancers go elsewhere."""

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        """Who asks, with a client that has joined the scheduler. Raises RequestError 401 or 403, SchedError."""
        tenant = self.tenants.of(connection)
        return Visitor(tenant, await self.tenants.client(tenant))

    def bring_audio(self, tenant: str, audio_ms: int) -> None:
        """A tenant brings so much. Raises SchedError OVERLOADED if it has brought too much already."""
        self.limits.bring_audio(tenant, audio_ms, time.monotonic_ns() // 1_000_000)
