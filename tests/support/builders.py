"""Short ways to say the domain's sentences in tests: specs, offers, and a Dispatcher's brain with a clock at hand."""

from collections.abc import Iterable
from typing import TypeVar

from ray_sched.core.capability import Capability
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    AnswerPool,
    Cleaned,
    CleanupDue,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    NotifyClient,
    OrderAgent,
    PoolOffered,
    ReportCleanup,
    Swept,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    AgentOrder,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunRefused,
    RunStopped,
)
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    Cancel,
    ClientEvent,
    ClientMessage,
    JobSpec,
    Refused,
    Submit,
)
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.placement.policy import DEFAULT_POLICY, PlacementPolicy
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules

WhatT = TypeVar("WhatT")

ENGLISH = Capability(engine="echo", asr=("en",))
EN_ES = Capability(engine="echo", asr=("en",), mt=("en:es",), tts=("es",))


def a_spec(request_id: str = "r1", **changes: object) -> JobSpec:
    """An English transcription of one second."""
    facts: dict[str, object] = {"request_id": request_id, "src": "en", "tgt": "en", "audio_ms": 1_000}
    return JobSpec(**(facts | changes))  # type: ignore[arg-type]


def a_node(node: str = "node-a", *, slots: int = 2, incarnation: int = 1, **changes: object) -> NodeOffer:
    """What a pool says of a ready node, all of its slots leased."""
    facts: dict[str, object] = {
        "node": node,
        "incarnation": incarnation,
        "agent": f"agent:{node}",
        "status": NodeStatus.READY,
        "slots": slots,
        "total_slots": slots,
    }
    return NodeOffer(**(facts | changes))  # type: ignore[arg-type]


def a_draining_node(node: str = "node-a", *, slots: int = 2, incarnation: int = 1) -> NodeOffer:
    """What a pool says of a draining node."""
    return a_node(
        node, slots=0, total_slots=slots, incarnation=incarnation, status=NodeStatus.DRAINING, why=Reason.DRAINING
    )


def an_offer(
    *nodes: NodeOffer,
    number: int,
    pool: str = "pool-1",
    epoch: int = 1,
    capability: Capability = ENGLISH,
    term_ms: int = 3_600_000,
) -> PoolOffer:
    """A pool's offer; its term is so long that only tests about terms see it end."""
    return PoolOffer(pool=pool, epoch=epoch, number=number, capability=capability, term_ms=term_ms, nodes=nodes)


def a_ray_node(ray_node_id: str = "ray-1", name: str = "node-a", **changes: object) -> RayNode:
    """A Ray node whose labels declare an English echo engine with two slots."""
    labels = {
        "ray-sched.io/engine": "echo",
        "ray-sched.io/asr": "en",
        "ray-sched.io/slots": "2",
        "ray-sched.io/node": name,
    }
    facts: dict[str, object] = {"ray_node_id": ray_node_id, "labels": labels}
    return RayNode(**(facts | changes))  # type: ignore[arg-type]


def a_beat(node: str = "node-a", incarnation: int = 1, **changes: object) -> Heartbeat:
    """A heartbeat of a loaded and healthy agent."""
    facts: dict[str, object] = {
        "node": node,
        "incarnation": incarnation,
        "is_loaded": True,
        "is_healthy": True,
        "capability": ENGLISH,
    }
    return Heartbeat(**(facts | changes))  # type: ignore[arg-type]


def accepted(job: str, attempt: int = 1, audio_ms: int = 1_000) -> RunAccepted:
    """The agent has the audio."""
    return RunAccepted(job_id=job, attempt=attempt, audio_ms=audio_ms, audio_bytes=audio_ms * 32)


def refused(job: str, attempt: int = 1, why: str = "full") -> RunRefused:
    """The agent does not take it."""
    return RunRefused(job_id=job, attempt=attempt, why=why)


def finished(
    job: str, attempt: int = 1, text: str = "hello", *, run_ms: int = 500, speech_bytes: int = 0
) -> RunFinished:
    """The agent has run it."""
    rate_hz = 22_050 if speech_bytes else 0
    return RunFinished(
        job_id=job, attempt=attempt, text=text, run_ms=run_ms, speech_bytes=speech_bytes, speech_rate_hz=rate_hz
    )


def failed(
    job: str, attempt: int = 1, code: Code = Code.ENGINE_FAILED, *, service: str = "", was_alone: bool = True
) -> RunFailed:
    """The agent's engine did not bring it to its end."""
    return RunFailed(job_id=job, attempt=attempt, code=code, why="it broke", service=service, was_alone=was_alone)


def stopped(job: str, attempt: int = 1) -> RunStopped:
    """The agent has stopped it, or never had it."""
    return RunStopped(job_id=job, attempt=attempt)


def told(effects: Iterable[DispatchEffect], kind: type[WhatT], client: str = "c1") -> list[WhatT]:
    """The events of this kind that a client is told."""
    return [
        e.event for e in effects if isinstance(e, NotifyClient) and e.client_id == client and isinstance(e.event, kind)
    ]


def events(effects: Iterable[DispatchEffect]) -> list[ClientEvent]:
    """All events that clients are told, in order."""
    return [e.event for e in effects if isinstance(e, NotifyClient)]


def orders(effects: Iterable[DispatchEffect]) -> list[AgentOrder]:
    """The orders to agents."""
    return [e.order for e in effects if isinstance(e, OrderAgent)]


def only(found: Iterable[WhatT]) -> WhatT:
    """The one element there has to be."""
    (one,) = found
    return one


class DispatchHarness:
    """A DispatchBrain, the time, and one verb for each fact. Time starts at 1 000 000 ms."""

    def __init__(
        self,
        rules: DispatchRules | None = None,
        delivery: DeliveryRules | None = None,
        selection: SelectionRules | None = None,
        policy: PlacementPolicy = DEFAULT_POLICY,
    ) -> None:
        self.brain = DispatchBrain(
            "boot", rules or DispatchRules(), delivery or DeliveryRules(), selection or SelectionRules(), policy
        )
        self.now_ms = 1_000_000
        self._n_offers = 0

    def handle(self, event: DispatchEvent) -> list[DispatchEffect]:
        """Tell the brain a fact."""
        return self.brain.handle(event, self.now_ms)

    # --- facts

    def offer(self, *nodes: NodeOffer, pool: str = "pool-1", capability: Capability = ENGLISH) -> list[DispatchEffect]:
        """The newest offer of a pool."""
        self._n_offers += 1
        return self.handle(PoolOffered(an_offer(*nodes, number=self._n_offers, pool=pool, capability=capability)))

    def send(self, *messages: ClientMessage, client: str = "c1") -> list[DispatchEffect]:
        """A client's batch."""
        return self.handle(ClientSpoke(client, messages))

    def poll(self, client: str = "c1") -> list[DispatchEffect]:
        """A client is there."""
        return self.handle(ClientPolled(client))

    def report(self, *messages: AgentMessage, node: str = "node-a", incarnation: int = 1) -> list[DispatchEffect]:
        """An agent's batch."""
        return self.handle(AgentSpoke(node, incarnation, messages))

    def submit(self, request_id: str = "r1", *, client: str = "c1", **changes: object) -> str:
        """Submit a job that has to be accepted; its id."""
        answer = self.answer(request_id, client=client, **changes)
        assert isinstance(answer, Accepted), answer
        return answer.job_id

    def answer(self, request_id: str = "r1", *, client: str = "c1", **changes: object) -> Answer:
        """Submit a job; the answer."""
        return only(answers(self.send(Submit(spec=a_spec(request_id, **changes)), client=client)))

    def refusal(self, request_id: str = "r1", *, client: str = "c1", **changes: object) -> Refusal:
        """Submit a job that has to be refused; the refusal."""
        answer = self.answer(request_id, client=client, **changes)
        assert isinstance(answer, Refused), answer
        return answer.refusal

    def cancel(self, job: str, client: str = "c1") -> list[DispatchEffect]:
        """Cancel a job."""
        return self.send(Cancel(job_id=job), client=client)

    def run(self, job: str, *, node: str = "node-a", run_ms: int = 500, text: str = "hello") -> list[DispatchEffect]:
        """The job's current attempt is accepted and finished by the node."""
        attempt = self.job(job).attempt
        self.report(accepted(job, attempt), node=node)
        return self.report(finished(job, attempt, text, run_ms=run_ms), node=node)

    # --- time

    def wait(self, duration_ms: int, *, polling: Iterable[str] = ("c1",)) -> list[DispatchEffect]:
        """Time passes in steps of at most a second, clients keep polling; then the brain sweeps."""
        effects: list[DispatchEffect] = []
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + 1_000, end_ms)
            for client in polling:
                effects += self.poll(client)
            effects += self.handle(Swept())
        return effects

    def clean_up(self, max_age_ms: int) -> Cleaned:
        """The clean-up tick; what it removed."""
        effects = self.handle(CleanupDue(max_age_ms))
        return only(effect.cleaned for effect in effects if isinstance(effect, ReportCleanup))

    # --- what is

    def job(self, job: str) -> Job:
        """A job's record."""
        return self.brain.jobs[job]

    def status(self, job: str) -> str:
        """A job's status."""
        return str(self.brain.jobs[job].status)

    def free(self, node: str = "node-a") -> int:
        """Free leases of a node."""
        return self.brain.node_states[node].n_free

    def acquired(self, node: str = "node-a") -> int:
        """Slots of a node with an attempt on them."""
        return self.brain.node_states[node].n_acquired


def answers(effects: Iterable[DispatchEffect]) -> tuple[Answer, ...]:
    """The answers to a client's batch."""
    return only(effect.answers for effect in effects if isinstance(effect, AnswerClient))


def receipt(effects: Iterable[DispatchEffect]) -> dict[str, int]:
    """The receipt for an offer."""
    return only(effect.receipt.acquired for effect in effects if isinstance(effect, AnswerPool))


def where(effects: Iterable[DispatchEffect], client: str = "c1") -> list[tuple[str, int, str]]:
    """The assignments a client is told: job, attempt, node."""
    return [(event.job_id, event.attempt, event.node) for event in told(effects, Assigned, client)]
