"""Bugs planted on purpose: the oracle has to find each of them."""

from collections.abc import Callable, Sequence

from ray_sched.core.agent.attempts import Attempts
from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import AgentEffect, StartRun
from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, SendMessage
from ray_sched.core.client.inbox import Inbox
from ray_sched.core.client.turns import Turns
from ray_sched.core.dispatch import admission, poison, reports, requests
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.messages.client_agent import PushItem
from ray_sched.core.messages.client_dispatcher import Answer, ClientEvent, ClientReply, JobSpec, Mail
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.queue.fair_shares import Shares
from tests.simulation.dispatcher import Dispatcher

Patch = Callable[[object, str, object], None]


def _fence(patch: Patch) -> None:
    """A message of any attempt on any node counts."""

    def is_current(job: Job | None, attempt: int, node: str, incarnation: int) -> bool:
        del attempt, node, incarnation
        return job is not None and job.status in {JobStatus.ASSIGNED, JobStatus.PROCESSING}

    patch(reports, "is_current", is_current)


def _lease(patch: Patch) -> None:
    """One attempt in seven does not give its slot back."""
    release = NodeState.release

    def leak(node_state: NodeState, attempt: AttemptKey) -> bool:
        return False if attempt[0].endswith("7") else release(node_state, attempt)

    patch(NodeState, "release", leak)


def _ack(patch: Patch) -> None:
    """What was decided is performed and acknowledged before it is saved."""
    patch(Dispatcher, "notifies_before_it_saves", True)


def _overtake(patch: Patch) -> None:
    """What needs no save is performed at once, though what it follows from is still being saved."""
    patch(Dispatcher, "keeps_order", False)


def _unfair(patch: Patch) -> None:
    """The virtual time of tenants is not counted."""

    def charge(shares: Shares[tuple[str, ...]], key: tuple[str, ...], audio_ms: int, *, is_served: bool) -> None:
        del shares, key, audio_ms, is_served

    patch(Shares, "charge", charge)


def _blame(patch: Patch) -> None:
    """Whoever ran beside it when an agent died is blamed as if it had been alone."""
    agent_died = poison.agent_died

    def blame_all(job: Job, *, was_alone: bool) -> None:
        del was_alone
        agent_died(job, was_alone=True)
        job.is_exclusive = False

    patch(poison, "agent_died", blame_all)


def _double_start(patch: Patch) -> None:
    """An agent remembers neither what it was told to stop nor what runs or ran there: each push starts its attempt."""
    handle_item = AgentBrain._handle_item

    def start(brain: AgentBrain, position: int, item: PushItem, now_ms: int, effects: list[AgentEffect]) -> None:
        if (item.job_id, item.attempt) in brain.running:
            effects.append(StartRun(position, item))
        handle_item(brain, position, item, now_ms, effects)

    def is_fenced(attempts: Attempts, key: AttemptKey) -> bool:
        del attempts, key
        return False

    patch(AgentBrain, "_handle_item", start)
    patch(Attempts, "is_fenced", is_fenced)


def _mail_order(patch: Patch) -> None:
    """Mail that comes with answers is handled before them: what is about a job just taken seems to be nobody's."""
    handle_reply = ClientBrain.handle_reply

    def mail_first(brain: ClientBrain, items: Sequence[SendMessage], reply: ClientReply) -> list[ClientEffect]:
        mail = reply.mail
        events = brain._handle_mail(mail) if mail.epoch == brain.inbox.epoch else []
        return events + handle_reply(brain, items, reply)

    def may_handle(brain: ClientBrain, event: ClientEvent, last_asked: int) -> bool:
        del brain, event, last_asked
        return True

    patch(ClientBrain, "handle_reply", mail_first)
    patch(ClientBrain, "_may_handle", may_handle)


def _lost_ack(patch: Patch) -> None:
    """A client whose mail has a hole goes on behind it, and acknowledges what it never had."""

    def take(inbox: Inbox, mail: Mail) -> tuple[ClientEvent, ...]:
        n_new = min(mail.last - inbox.acked, len(mail.events))
        inbox.acked = max(inbox.acked, mail.last)
        return mail.events[len(mail.events) - n_new :] if n_new > 0 else ()

    patch(Inbox, "take", take)


def _again(patch: Patch) -> None:
    """A request id that has failed once has failed for ever, whatever it has failed of."""

    def is_new_job(job: Job, spec: JobSpec, now_ms: int) -> bool:
        del job, spec, now_ms
        return False

    patch(admission, "is_new_job", is_new_job)


def _turns(patch: Patch) -> None:
    """What has been read is asked for at once, whoever was submitted before it in its session."""

    def ready(turns: Turns, number: int, spec: JobSpec) -> list[int]:
        del turns, spec
        return [number]

    patch(Turns, "ready", ready)


def _ahead(patch: Patch) -> None:
    """A job is taken though one before it, in its session and its batch, was refused for want of room."""

    def admit(state: DispatchState, step: Step, client_id: str, spec: JobSpec) -> Answer:
        return requests._admit(state, step, client_id, spec)

    patch(requests, "_admit_in_turn", admit)


PLANTS: dict[str, Callable[[Patch], None]] = {
    "fence": _fence,
    "lease": _lease,
    "ack": _ack,
    "overtake": _overtake,
    "unfair": _unfair,
    "blame": _blame,
    "double-start": _double_start,
    "mail-order": _mail_order,
    "lost-ack": _lost_ack,
    "again": _again,
    "turns": _turns,
    "ahead": _ahead,
}


def plant(name: str, patch: Patch = setattr) -> None:
    """Break this rule, with ``setattr`` or a test's ``monkeypatch.setattr``."""
    PLANTS[name](patch)
