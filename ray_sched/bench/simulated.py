"""A whole cluster around one real Dispatcher, in this process and without Ray: nodes and a client are messages.

The Dispatcher is the real one, brain and shell, with a real Redis behind it. It is handed the messages that a client,
agents and pools would send, encoded as they travel, and the CPU of exactly that is what is measured: the messages are
made and read while the meter stands. Agents finish at once, so nothing but the Dispatcher takes time.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from ray_sched.actors.dispatcher import Dispatcher, DispatcherOptions
from ray_sched.core.capability import ASR, Capability
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.messages.agent_dispatcher import AgentBatch, RunAccepted, RunFinished
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Assigned,
    ClientBatch,
    ClientReply,
    Delivered,
    JobSpec,
    Mail,
    Poll,
    Submit,
)
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import Store
from ray_sched.core.rules import CleanupRules, DeliveryRules, DispatchRules, SelectionRules
from ray_sched.wire.auth import agent_key, pool_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.peers import Peer, PeerGoneError

T = TypeVar("T")

_CLIENT = "bench-client-0123456789abcdef"
_RENEW_AFTER_S = 2.0
_DEADLINE_MS = 3_600_000
_AUDIO_MS = 5_000
_TEXT = "echo of 80000 samples"
_SECRET = b"of a benchmark"
_MANY = 10_000_000


class Shape(Struct, frozen=True, kw_only=True):
    """How large the simulated cluster is."""

    nodes: int = 4
    slots: int = 16
    """Of each node."""
    pools: int = 1
    capabilities: int = 1
    """How many different ones the pools have; all of them serve English."""
    sessions: int = 0
    """How many the jobs are spread over; 0: without a session."""
    jobs_per_report: int = 0
    """An agent's report is about so many jobs; 0: about all it was given."""
    in_flight: int = 64
    """Jobs that have not ended at any time; those beyond the slots wait."""
    term_ms: int = 10_000
    """Of the leases, which are renewed after two seconds."""


class NoDirectory:
    """Nobody can be called: agents here get no orders."""

    def peer(self, actor: str) -> Peer:
        """Raises PeerGoneError."""
        raise PeerGoneError(f"{actor} is simulated")


class CpuMeter:
    """CPU seconds of this process while it runs."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    async def count(self, work: Awaitable[T]) -> T:
        """Await this with the meter running."""
        began_s = time.process_time()
        try:
            return await work
        finally:
            self.spent_s += time.process_time() - began_s


class SimulatedCluster:
    """One Dispatcher, its nodes and one client. ``run`` brings jobs from submit to delivery."""

    def __init__(self, shape: Shape, store: Store) -> None:
        rules = DispatchRules(max_waiting_jobs=_MANY, max_waiting_jobs_per_session=_MANY)
        self._shape = shape
        self.brain = DispatchBrain("bench", rules, DeliveryRules(), SelectionRules())
        options = DispatcherOptions(epoch="bench", cleanup=CleanupRules(), store_wait_s=60.0, secret=_SECRET)
        self.dispatcher = Dispatcher(self.brain, store, NoDirectory(), options)
        self.per_job = CpuMeter()
        """What grows with jobs: submits, polls and reports."""
        self.per_offer = CpuMeter()
        """What grows with time: the pools' offers, each four times a second."""
        self.n_offers = 0
        self._submitted = 0
        self._delivered = 0
        self._acked = 0
        self._offer_number = 0
        self._renew_at_s = 0.0
        self._epoch = ""
        self._running: defaultdict[str, list[Assigned]] = defaultdict(list)

    async def run(self, n_jobs: int) -> None:
        """Submit so many more jobs and return when so many more were delivered; the rest stays in flight."""
        goal = self._delivered + n_jobs
        while self._delivered < goal:
            await self.renew_leases()
            await self._submit(self._shape.in_flight - (self._submitted - self._delivered))
            await self._finish_running()
            await self._poll()

    async def fill(self) -> None:
        """Submit as many jobs as may be in flight, and let none of them end."""
        await self.renew_leases()
        await self._submit(self._shape.in_flight - (self._submitted - self._delivered))

    async def drain(self) -> None:
        """Return when all that was submitted is delivered."""
        while self._delivered < self._submitted:
            await self.renew_leases()
            await self._finish_running()
            await self._poll()

    async def renew_leases(self, *, is_due: bool = False) -> None:
        """Offer every pool's slots, if it is time or ``is_due``."""
        if not is_due and time.monotonic() < self._renew_at_s:
            return
        self._renew_at_s = time.monotonic() + _RENEW_AFTER_S
        self._offer_number += 1
        for raw in self._offers():
            await self.per_offer.count(self.dispatcher.offer(raw))
            self.n_offers += 1

    def _offers(self) -> Iterator[bytes]:
        names = [f"node-{number}" for number in range(self._shape.nodes)]
        for number in range(self._shape.pools):
            which = number % self._shape.capabilities
            languages = ("en", f"q{chr(ord('a') + which // 26)}{chr(ord('a') + which % 26)}")
            yield encode(
                PoolOffer(
                    pool=f"pool-{number}",
                    key=pool_key(_SECRET, f"pool-{number}"),
                    epoch=1,
                    number=self._offer_number,
                    capability=Capability(engine="echo", asr=languages),
                    term_ms=self._shape.term_ms,
                    nodes=tuple(self._node(name) for name in names[number :: self._shape.pools]),
                )
            )

    def _node(self, name: str) -> NodeOffer:
        slots = self._shape.slots
        return NodeOffer(
            node=name,
            incarnation=1,
            agent=f"agent:{name}",
            status=NodeStatus.READY,
            slots=slots,
            total_slots=slots,
        )

    async def _submit(self, n_jobs: int) -> None:
        if n_jobs <= 0:
            return
        specs = [self._spec(self._submitted + number) for number in range(n_jobs)]
        self._submitted += n_jobs
        batch = ClientBatch(client_id=_CLIENT, generation=1, messages=tuple(Submit(spec=spec) for spec in specs))
        raw = await self.per_job.count(self.dispatcher.client(encode(batch)))
        reply = decode(raw, ClientReply)
        if not all(isinstance(answer, Accepted) for answer in reply.answers):
            raise RuntimeError(f"a job was refused: {reply.answers}")
        self._handle(reply.mail)

    def _spec(self, number: int) -> JobSpec:
        sessions = self._shape.sessions
        return JobSpec(
            request_id=f"{number:024x}",
            src="en",
            tgt="en",
            services=(ASR,),
            session=f"session-{number % sessions}" if sessions else "",
            audio_ms=_AUDIO_MS,
            deadline_ms=_DEADLINE_MS,
        )

    async def _finish_running(self) -> None:
        """Every agent reports that it accepted and finished all it was given."""
        running, self._running = self._running, defaultdict(list)
        for node, attempts in running.items():
            n_jobs = self._shape.jobs_per_report or len(attempts)
            key = agent_key(_SECRET, node, 1)
            for first in range(0, len(attempts), n_jobs):
                messages = tuple(report for one in attempts[first : first + n_jobs] for report in _reports(one))
                batch = encode(AgentBatch(node=node, incarnation=1, key=key, messages=messages))
                await self.per_job.count(self.dispatcher.agent(batch))

    async def _poll(self) -> None:
        poll = Poll(client_id=_CLIENT, generation=1, acked=self._acked, epoch=self._epoch)
        self._handle(decode(await self.per_job.count(self.dispatcher.poll(encode(poll))), Mail))

    def _handle(self, mail: Mail) -> None:
        self._epoch = mail.epoch
        first = mail.last - len(mail.events) + 1
        for number, event in enumerate(mail.events, start=first):
            if number <= self._acked:
                continue
            self._acked = number
            match event:
                case Assigned():
                    self._running[event.node].append(event)
                case Delivered():
                    self._deliver(event)
                case _:
                    raise RuntimeError(f"this should not come: {event}")

    def _deliver(self, event: Delivered) -> None:
        if event.outcome.status != "completed":
            raise RuntimeError(f"a job did not complete: {event.outcome}")
        self._delivered += 1


def _reports(one: Assigned) -> Sequence[Any]:
    accepted = RunAccepted(job_id=one.job_id, attempt=one.attempt, audio_ms=_AUDIO_MS, audio_bytes=_AUDIO_MS * 32)
    finished = RunFinished(job_id=one.job_id, attempt=one.attempt, text=_TEXT, run_ms=5)
    return accepted, finished
