"""The Dispatcher's shell: receives, lets the brain decide, saves, performs. It decides nothing.

Order of every step: decide, save, notify. The decision itself never awaits; its other effects reach a mailbox or an
agent only after the commit that makes them true has returned. Commits of steps that meet are made together.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import msgspec

from ray_sched.actors.background import Background
from ray_sched.actors.commits import Commits
from ray_sched.actors.journalling import Journalling, WriteRows
from ray_sched.actors.mailboxes import ClientMailbox, Mailboxes
from ray_sched.actors.metrics import ActorMetrics, call_sizes, samples_of_dispatcher
from ray_sched.actors.orders import OrderOutboxes
from ray_sched.actors.questions import Questions
from ray_sched.actors.retry import retry_until_answered
from ray_sched.core.dispatch.records import read_jobs
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    AnswerPool,
    CancelAsked,
    CleanupDue,
    ClientBlocked,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    DrainBegan,
    DropClient,
    Log,
    NotifyClient,
    OrderAgent,
    PoolClosed,
    PoolOffered,
    ReportCleanup,
    Save,
    StoreCameBack,
    StoreWasEmptied,
    StoreWentAway,
    SubmitsWithdrawn,
    Swept,
)
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.job import Job
from ray_sched.core.messages.agent_dispatcher import AgentBatch
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Alive,
    Answer,
    Assigned,
    Cancel,
    ClientBatch,
    ClientEvent,
    ClientReply,
    Poll,
    Refused,
    SpeechReady,
    Submit,
)
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.messages.registry_dispatcher import PoolRemoved
from ray_sched.core.ports import Store
from ray_sched.core.rules import CleanupRules
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.jobs import ClusterView, JobView, job_view, jobs_view, status_view
from ray_sched.observe.samples import Sample, WriteSamples, write_nothing
from ray_sched.wire.auth import agent_key, attempt_token, is_same, pool_key
from ray_sched.wire.clock import Clock
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.peers import Directory

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

log = logging.getLogger(__name__)

_CANCELLED_PER_STEP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherOptions:
    """What a Dispatcher is given when it starts."""

    epoch: str
    """Of this life of it: mail of another one cannot be acknowledged here."""
    cleanup: CleanupRules
    store_wait_s: float
    """A submit that is not saved within this time is refused."""
    secret: bytes = b""
    """The scheduler's, see ``wire.auth``."""
    write_samples: WriteSamples = write_nothing
    """Is given all metrics at each tick of them."""
    write_journal: WriteRows | None = None
    """Blocks until the rows are on disk; None: there is no journal."""


class Dispatcher(Questions):
    """Actor ``dispatcher``: the only writer of jobs.

    Nobody is notified of what is not saved, nor out of order: what needs no save waits for what was decided before it
    and is still being saved. A report that ``agent`` has returned for is saved; so is a submit that
    ``client`` has accepted.
    """

    def __init__(self, brain: "DispatchBrain", store: Store, directory: Directory, options: DispatcherOptions) -> None:
        self._brain = brain
        self._store = store
        self._options = options
        self._clock = Clock()
        self.mailboxes = Mailboxes(options.epoch)
        self._orders = OrderOutboxes(directory, options.secret)
        super().__init__(brain, self._clock)
        self._journalling = Journalling(brain, options.write_journal)
        self._commits = Commits(store, self, Background("dispatcher"))
        self._metrics = ActorMetrics("dispatcher", self._commits, options.write_samples)
        self._call_sizes = call_sizes(order=self._orders.sizes, commit=self._commits.sizes)

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return "dispatcher"

    async def restore(self) -> None:
        """Take up what an earlier life has saved, before anything else.

        Waits for the store as long as it takes: without it nothing can be promised to anybody.
        """
        await retry_until_answered(self._store.vouch)
        jobs = await retry_until_answered(self._load_jobs)
        self._brain.speeds.load(await retry_until_answered(self._store.load_speeds))
        effects = self._brain.restore(jobs, self._clock.now_ms())
        changes = [effect.change for effect in effects if isinstance(effect, Save)]
        if changes:
            await self._commits.ask(changes)
        self._perform_all(effects)
        if jobs:
            log.info("restored %d jobs, %d of them open", len(jobs), sum(not job.is_terminal for job in jobs))

    async def _load_jobs(self) -> list[Job]:
        read = read_jobs([record async for record in self._store.load_jobs()])
        if read.n_left_out:
            log.error(read.sentence("jobs"))
        return read.readable

    # --- clients ---------------------------------------------------------------------------------------------------

    async def client(self, raw: bytes) -> bytes:
        """Handle a client's batch; reply with one answer for each Submit and Cancel, in order, and with its mail.

        An accepted submit is saved. While the store does not answer, submits are refused, after ``store_wait_s`` at
        most; a process that was replaced gets no answers, and mail with the refusal.
        """
        batch = decode(raw, ClientBatch)
        self._call_sizes["client"].observe(len(batch.messages))
        mailbox = self.mailboxes.of(batch.client_id, batch.generation)
        refusal = mailbox.refuse(batch.generation)
        if refusal:
            return encode(ClientReply(answers=(), mail=mailbox.mail_of_refusal(refusal, self._brain.n_leased)))
        if self._commits.store_error and any(isinstance(message, Submit) for message in batch.messages):
            others = tuple(message for message in batch.messages if not isinstance(message, Submit))
            self._decide(ClientSpoke(batch.client_id, others))
            return self._reply(mailbox, self._refuse_all(batch))
        with mailbox.being_answered():
            effects, saved = self._decide(ClientSpoke(batch.client_id, batch.messages))
            answers = _answers(effects)
            is_refused = len(answers) == len(batch.messages) and all(isinstance(answer, Refused) for answer in answers)
            if saved is not None and not is_refused:  # a refusal promises nothing that could get lost
                await asyncio.wait({saved}, timeout=self._options.store_wait_s)
                if not saved.done():
                    self._withdraw(batch, answers)
                    return self._reply(mailbox, self._refuse_all(batch))
            return self._reply(mailbox, answers)

    def _reply(self, mailbox: ClientMailbox, answers: tuple[Answer, ...]) -> bytes:
        return encode(ClientReply(answers=answers, mail=mailbox.mail(self._brain.n_leased)))

    def _withdraw(self, batch: ClientBatch, answers: tuple[Answer, ...]) -> None:
        """These submits are refused in the end: their jobs are not run, and the same requests may come again."""
        asked = [message for message in batch.messages if isinstance(message, Submit | Cancel)]
        accepted = tuple(
            message.spec.request_id
            for message, answer in zip(asked, answers, strict=True)
            if isinstance(message, Submit) and isinstance(answer, Accepted) and not answer.is_duplicate
        )
        self._decide(SubmitsWithdrawn(batch.client_id, accepted))

    def _refuse_all(self, batch: ClientBatch) -> tuple[Answer, ...]:
        why = self._commits.store_error or "no commit in time"
        message = f"Redis does not answer ({why}); submit again later"
        refusal = Refusal(code=Code.SCHEDULER_DEPENDENCY_DOWN, message=message, retry_after_ms=1_000)
        return tuple(Refused(refusal=refusal) for asked in batch.messages if isinstance(asked, Submit | Cancel))

    async def poll(self, raw: bytes) -> bytes:
        """Hand a client its mail: at once if there is some, else when some comes, after two seconds at most."""
        poll = decode(raw, Poll)
        mailbox = self.mailboxes.of(poll.client_id, poll.generation)
        refusal = mailbox.refuse(poll.generation)
        if refusal:
            return encode(mailbox.mail_of_refusal(refusal, self._brain.n_leased))
        mailbox.handle_poll(poll)
        self._decide(ClientPolled(poll.client_id))
        await mailbox.wait_for_mail()
        return encode(mailbox.mail(self._brain.n_leased))

    async def alive(self, raw: bytes) -> None:
        """Note that a client lives that does not answer; a process that was replaced is not this client any more."""
        alive = decode(raw, Alive)
        if self.mailboxes.of(alive.client_id, alive.generation).refuse(alive.generation) is None:
            self._decide(ClientBlocked(alive.client_id))

    # --- agents, pools, timer --------------------------------------------------------------------------------------

    async def agent(self, raw: bytes) -> None:
        """Handle an agent's reports. Returning is the acknowledgement: everything is saved. Raises UNAUTHENTICATED."""
        batch = decode(raw, AgentBatch)
        if not is_same(batch.key, agent_key(self._options.secret, batch.node, batch.incarnation)):
            raise SchedError(Code.UNAUTHENTICATED, f"these reports are not from the agent of {batch.node!r}")
        self._call_sizes["agent"].observe(len(batch.messages))
        await self._step(AgentSpoke(batch.node, batch.incarnation, batch.messages))

    async def offer(self, raw: bytes) -> bytes:
        """Handle a pool's offer; reply with the slots that have a job, which is for people and waits for no commit.

        Raises UNAUTHENTICATED if it is not of the pool that it names.
        """
        offer = decode(raw, PoolOffer)
        self._check_pool(offer.pool, offer.key)
        effects, _ = self._decide(PoolOffered(offer))
        return encode(next((e.receipt for e in effects if isinstance(e, AnswerPool)), LeaseReceipt(acquired={})))

    async def pool_closed(self, raw: bytes) -> None:
        """The Registry has removed a pool, which had no nodes. Raises UNAUTHENTICATED if it was not the Registry."""
        removed = decode(raw, PoolRemoved)
        self._check_pool(removed.pool, removed.key)
        await self._step(PoolClosed(removed.pool))

    def _check_pool(self, pool: str, key: bytes) -> None:
        if not is_same(key, pool_key(self._options.secret, pool)):
            raise SchedError(Code.UNAUTHENTICATED, f"this is neither pool {pool[:80]!r} nor the registry")

    async def tick(self, what: str) -> None:
        """The Timer's ticks: ``sweep`` for time-outs, ``cleanup`` for finished jobs, ``store`` to ask after the store.

        They do not wait for the store: while it is away, time goes on.
        """
        match what:
            case "cleanup":
                await self.cleanup(self._options.cleanup.keep_ms)
            case "store":
                self._commits.probe()
            case "journal":
                await self._journalling.tick()
            case "metrics":
                self._metrics.write(self._samples())
            case _:
                self._decide(Swept())

    async def ping(self) -> None:
        """Return: whoever starts the scheduler waits for it, since nothing returns before ``restore`` is done."""

    # --- people ----------------------------------------------------------------------------------------------------

    async def cleanup(self, max_age_ms: int) -> dict[str, int]:
        """Forget finished jobs at least this old; one log line with count and bytes, which are returned, too."""
        effects = await self._step(CleanupDue(max_age_ms))
        cleaned = next(effect.cleaned for effect in effects if isinstance(effect, ReportCleanup))
        log.info(
            "clean-up: %d finished jobs removed (%d bytes), %d younger ones kept",
            cleaned.jobs,
            cleaned.record_bytes,
            cleaned.kept,
        )
        return {"jobs": cleaned.jobs, "record_bytes": cleaned.record_bytes, "kept": cleaned.kept}

    async def drain(self) -> tuple[int, int]:
        """Take no new jobs from now on. Returns how many jobs are open and how many events clients have yet to take."""
        await self._step(DrainBegan())
        return len(self._brain.jobs) - len(self._brain.ended), self.mailboxes.n_unacknowledged

    async def status(self) -> ClusterView:
        """The whole scheduler in numbers."""
        return status_view(
            self._brain,
            self._clock.now_ms(),
            held_bytes=self.mailboxes.held_bytes,
            stored_bytes=self.mailboxes.stored_bytes,
            store_error=self._commits.store_error,
        )

    async def metrics(self) -> list[Sample]:
        """All that this actor exports."""
        return self._metrics.read(self._samples())

    def _samples(self) -> Iterator[Sample]:
        return samples_of_dispatcher(self._brain, self.mailboxes, self._call_sizes)

    async def jobs(self, wanted: JobFilter, limit: int) -> list[JobView]:
        """The newest of these jobs."""
        return jobs_view(self._brain, self._clock.now_ms(), wanted, limit)

    async def cancel(self, wanted: JobFilter) -> list[JobView]:
        """Cancel these jobs, whoever has submitted them. Returns those that had not ended, as they are then.

        A few at a time, so that nobody else waits for thousands.
        """
        found = [job for job in wanted.newest(self._brain) if not job.is_terminal]
        for start in range(0, len(found), _CANCELLED_PER_STEP):
            some = found[start : start + _CANCELLED_PER_STEP]
            await self._step(CancelAsked(tuple(job.job_id for job in some)))
            await asyncio.sleep(0)
        return [job_view(job, self._clock.now_ms()) for job in found]

    # --- the store, while a commit is under way --------------------------------------------------------------------

    def handle_store_away(self) -> None:
        """Nothing can be saved, so nothing more is promised."""
        self._decide(StoreWentAway())

    def handle_store_back(self) -> None:
        """What is decided is saved again."""
        self._decide(StoreCameBack())

    def handle_store_emptied(self) -> Awaitable[None] | None:
        """Have all that is known of jobs saved again; what is returned ends when that is done."""
        return self._decide(StoreWasEmptied())[1]

    # --- steps -----------------------------------------------------------------------------------------------------

    async def _step(self, event: DispatchEvent) -> list[DispatchEffect]:
        """Decide, save, notify. Returns what was decided, once it is saved."""
        effects, saved = self._decide(event)
        if saved is not None:
            await asyncio.shield(saved)  # who gives up waiting calls nothing off
        return effects

    def _decide(self, event: DispatchEvent) -> tuple[list[DispatchEffect], asyncio.Future[None] | None]:
        """Let the brain decide. The other effects are performed as soon as it is saved, even if nobody waits for that.

        Returns the effects and the future of their save; None: nothing is to be saved, and all is performed.
        """
        effects = self._brain.handle(event, self._clock.now_ms())
        changes = [effect.change for effect in effects if isinstance(effect, Save)]
        is_ahead = not self._commits.is_idle and (effects or isinstance(event, AgentSpoke))
        if not changes and not is_ahead:  # what follows from a step that is still being saved waits for it
            self._perform_all(effects)
            return effects, None
        saved = self._commits.ask(changes)
        saved.add_done_callback(lambda done: None if done.exception() else self._perform_all(effects))
        return effects, saved

    def _perform_all(self, effects: list[DispatchEffect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: DispatchEffect) -> None:
        match effect:
            case NotifyClient():
                self.mailboxes.of(effect.client_id).put(self._with_token(effect.event))
            case DropClient():
                self.mailboxes.drop(effect.client_id)
            case OrderAgent():
                self._orders.put(effect)
            case Log():
                log.info(effect.text)
            case Save() | AnswerClient() | AnswerPool() | ReportCleanup():
                pass  # done before, or by the call that brought the event
            case _:
                assert_never(effect)

    def _with_token(self, event: ClientEvent) -> ClientEvent:
        """With the attempt token that the agent asks for, if the event sends the client to an agent."""
        if not isinstance(event, Assigned | SpeechReady):
            return event
        job = self._brain.jobs.get(event.job_id)
        if job is None or job.attempt != event.attempt:  # another event, after this one, is about what has become of it
            return event
        key = agent_key(self._options.secret, job.node, job.incarnation)
        return msgspec.structs.replace(event, token=attempt_token(key, event.job_id, event.attempt))


def _answers(effects: list[DispatchEffect]) -> tuple[Answer, ...]:
    return next(effect.answers for effect in effects if isinstance(effect, AnswerClient))
