"""The Dispatcher's shell: receives, lets the brain decide, saves, tells. It decides nothing.

Order of every turn: decide, save, tell. The decision itself never awaits; what it says reaches a mailbox or an agent
only after the commit that makes it true has returned. Commits of turns that meet are made together.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

import msgspec

from ray_sched.actors.retry import STORE_RETRY_S, retry_until_answered
from ray_sched.core.delivery.mailbox import Mailbox
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.dispatch.records import read_jobs
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    AnswerPool,
    CleanupDue,
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
    SubmitsTakenBack,
    Swept,
)
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.job import Job
from ray_sched.core.messages.agent_dispatcher import AgentBatch, AgentOrder, AgentOrders
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    Cancel,
    ClientBatch,
    ClientEvent,
    ClientReply,
    Mail,
    Poll,
    Refused,
    SpeechReady,
    Submit,
)
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.ports import Change, Store, StoreDownError, StoreEmptiedError
from ray_sched.core.rules import CleanupRules
from ray_sched.core.views.jobs import ClusterView, Explanation, JobView, explain, jobs_view, status_view
from ray_sched.wire.auth import agent_key, attempt_token, is_same
from ray_sched.wire.clock import Clock
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_POLL_WAIT_S = 2.0
_ORDER_TIMEOUT_S = 2.0


class _Client:
    """A client as the shell sees it: its mailbox, and which of its processes is the current one."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.mailbox = Mailbox()
        self.generation = 0
        self.held_bytes = 0
        self.stored_bytes = 0
        self.has_mail = asyncio.Event()
        self._n_answers = 0

    def put(self, event: ClientEvent) -> None:
        """Mail for this client: it goes with the answer that is on its way, else with the poll that waits."""
        self.mailbox.put(event)
        if not self._n_answers:
            self.has_mail.set()

    @contextlib.contextmanager
    def being_answered(self) -> Iterator[None]:
        """A call of this client takes its mail along: one message less, and no poll that returns and comes again."""
        self._n_answers += 1
        try:
            yield
        finally:
            self._n_answers -= 1
            if self.mailbox.has_mail:
                self.has_mail.set()


class Dispatcher:
    """Actor ``dispatcher``: the only writer of jobs."""

    def __init__(
        self,
        epoch: str,
        brain: DispatchBrain,
        store: Store,
        directory: Directory,
        cleanup: CleanupRules,
        store_wait_s: float,
        secret: bytes = b"",
    ) -> None:
        """``secret``: the scheduler's, see ``wire.seals``."""
        self._epoch = epoch
        self._brain = brain
        self._store = store
        self._directory = directory
        self._cleanup = cleanup
        self._store_wait_s = store_wait_s
        self._secret = secret
        self._clock = Clock()
        self._clients: dict[str, _Client] = {}
        self._n_epochs = 0
        self._commits: Outbox[Sequence[Change], None] = Outbox(self._commit)
        self._orders: dict[str, Outbox[tuple[int, AgentOrder], None]] = {}
        self._store_error = ""
        self._is_probing = False
        self._saving_all: asyncio.Task[None] | None = None

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
        self._tell(effects)
        if jobs:
            log.info("restored %d jobs, %d of them open", len(jobs), sum(not job.is_terminal for job in jobs))

    async def _load_jobs(self) -> list[Job]:
        read = read_jobs([record async for record in self._store.load_jobs()])
        if read.n_left_out:
            log.error(read.sentence("jobs"))
        return read.readable

    # --- clients ---------------------------------------------------------------------------------------------------

    async def client(self, raw: bytes) -> bytes:
        """Take a client's batch; answer with one Answer for each Submit and Cancel, and with its mail."""
        batch = decode(raw, ClientBatch)
        client = self._client(batch.client_id, batch.generation)
        refusal = self._refuse_generation(client, batch.generation)
        if refusal:
            return encode(ClientReply(answers=(), mail=self._mail(client, refusal)))
        if self._store_error and any(isinstance(message, Submit) for message in batch.messages):
            others = tuple(message for message in batch.messages if not isinstance(message, Submit))
            self._decide(ClientSpoke(batch.client_id, others))
            return encode(ClientReply(answers=self._refuse_all(batch), mail=self._mail(client)))
        with client.being_answered():
            effects, saved = self._decide(ClientSpoke(batch.client_id, batch.messages))
            answers = next(effect.answers for effect in effects if isinstance(effect, AnswerClient))
            is_refused = len(answers) == len(batch.messages) and all(isinstance(answer, Refused) for answer in answers)
            if saved is not None and not is_refused:  # a refusal promises nothing that could get lost
                await asyncio.wait({saved}, timeout=self._store_wait_s)
                if not saved.done():
                    self._take_back(batch, effects)
                    return encode(ClientReply(answers=self._refuse_all(batch), mail=self._mail(client)))
            return encode(ClientReply(answers=answers, mail=self._mail(client)))

    def _take_back(self, batch: ClientBatch, effects: list[DispatchEffect]) -> None:
        """A submit that is answered no has not been: its job is not run, and the same request may come again."""
        answers = next(effect.answers for effect in effects if isinstance(effect, AnswerClient))
        asked = [message for message in batch.messages if isinstance(message, Submit | Cancel)]
        taken = tuple(
            message.spec.request_id
            for message, answer in zip(asked, answers, strict=True)
            if isinstance(message, Submit) and isinstance(answer, Accepted) and not answer.is_duplicate
        )
        self._decide(SubmitsTakenBack(batch.client_id, taken))

    async def poll(self, raw: bytes) -> bytes:
        """Wait for a client's mail, about two seconds at most."""
        poll = decode(raw, Poll)
        client = self._client(poll.client_id, poll.generation)
        refusal = self._refuse_generation(client, poll.generation)
        if refusal:
            return encode(self._mail(client, refusal))
        client.held_bytes, client.stored_bytes = poll.held_bytes, poll.stored_bytes
        if poll.epoch == client.epoch:
            client.mailbox.acknowledge(poll.acked)
        if poll.is_resync:
            client.mailbox.resync()
        self._decide(ClientPolled(poll.client_id))
        if not client.mailbox.has_mail:
            client.has_mail.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_WAIT_S):
                    await client.has_mail.wait()
        return encode(self._mail(client))

    def _client(self, client_id: str, generation: int = 0) -> _Client:
        """The client of this id. A newer process of it begins with an empty mailbox and asks for what it wants."""
        client = self._clients.get(client_id)
        if client is None or generation > client.generation > 0:
            self._n_epochs += 1
            replaced, client = client, _Client(f"{self._epoch}/{self._n_epochs}")
            self._clients[client_id] = client
            if replaced:
                replaced.has_mail.set()
        client.generation = max(client.generation, generation)
        return client

    def _refuse_generation(self, client: _Client, generation: int) -> Refusal | None:
        """The newest process of a client id is the client; the others are told so."""
        if generation < client.generation:
            return Refusal(code=Code.CLIENT_REPLACED, message="a newer process has taken over this client id")
        return None

    def _refuse_all(self, batch: ClientBatch) -> tuple[Answer, ...]:
        message = f"Redis does not answer ({self._store_error or 'no commit in time'}); submit again later"
        refusal = Refusal(code=Code.SCHEDULER_DEPENDENCY_DOWN, message=message, retry_after_ms=1_000)
        return tuple(Refused(refusal=refusal) for asked in batch.messages if isinstance(asked, Submit | Cancel))

    def _mail(self, client: _Client, refusal: Refusal | None = None) -> Mail:
        last, events = client.mailbox.take() if refusal is None else (0, ())
        return Mail(epoch=client.epoch, last=last, events=events, slots=self._brain.n_leased, refusal=refusal)

    # --- agents, pools, timer --------------------------------------------------------------------------------------

    async def agent(self, raw: bytes) -> None:
        """Take an agent's reports. Returning is the acknowledgement: everything is saved."""
        batch = decode(raw, AgentBatch)
        if not is_same(batch.key, agent_key(self._secret, batch.node, batch.incarnation)):
            raise SchedError(Code.UNAUTHENTICATED, f"these reports are not from the agent of {batch.node!r}")
        await self._turn(AgentSpoke(batch.node, batch.incarnation, batch.messages))

    async def offer(self, raw: bytes) -> bytes:
        """Take a pool's leases; answer with what is spent, which is for people and waits for no commit."""
        effects, _ = self._decide(PoolOffered(decode(raw, PoolOffer)))
        return encode(next((e.receipt for e in effects if isinstance(e, AnswerPool)), LeaseReceipt(spent={})))

    async def pool_closed(self, pool: str) -> None:
        """A pool is removed."""
        await self._turn(PoolClosed(pool))

    async def tick(self, what: str) -> None:
        """The Timer's ticks: ``sweep`` for time-outs, ``cleanup`` for finished jobs, ``store`` to ask after the store.

        They do not wait for the store: while it is away, time goes on.
        """
        match what:
            case "cleanup":
                await self.cleanup(self._cleanup.keep_ms)
            case "store":
                if self._commits.is_idle:
                    self._is_probing = True
                    self._commits.put(())
            case _:
                self._decide(Swept())

    async def ping(self) -> None:
        """Answer."""

    # --- people ----------------------------------------------------------------------------------------------------

    async def cleanup(self, max_age_ms: int) -> dict[str, int]:
        """Forget finished jobs of this age; one log line with count and bytes."""
        told = await self._turn(CleanupDue(max_age_ms))
        cleaned = next(effect.cleaned for effect in told if isinstance(effect, ReportCleanup))
        log.info(
            "clean-up: %d finished jobs removed (%d bytes), %d younger ones kept",
            cleaned.jobs,
            cleaned.record_bytes,
            cleaned.kept,
        )
        return {"jobs": cleaned.jobs, "record_bytes": cleaned.record_bytes, "kept": cleaned.kept}

    async def drain(self) -> tuple[int, int]:
        """Take no new jobs from now on. Returns the open jobs and the events clients have yet to take: numbers."""
        await self._turn(DrainBegan())
        n_untaken = sum(len(client.mailbox) for client in self._clients.values())
        return len(self._brain.jobs) - len(self._brain.ended), n_untaken

    async def status(self) -> ClusterView:
        """The whole scheduler in numbers."""
        held = sum(client.held_bytes for client in self._clients.values())
        stored = sum(client.stored_bytes for client in self._clients.values())
        return status_view(
            self._brain, self._clock.now_ms(), held_bytes=held, stored_bytes=stored, store_error=self._store_error
        )

    async def jobs(self, statuses: tuple[str, ...], limit: int) -> list[JobView]:
        """The newest jobs, of these statuses if any are named."""
        return jobs_view(self._brain, self._clock.now_ms(), statuses, limit)

    async def explain(self, job_id: str) -> Explanation:
        """Why a job is where it is. Raises SchedError UNKNOWN_JOB."""
        return explain(self._brain, job_id, self._clock.now_ms())

    # --- turns -----------------------------------------------------------------------------------------------------

    async def _turn(self, event: DispatchEvent) -> list[DispatchEffect]:
        """Decide, save, tell. Returns what was told."""
        effects, saved = self._decide(event)
        if saved is not None:
            await asyncio.shield(saved)  # who gives up waiting calls nothing off
        return effects

    def _decide(self, event: DispatchEvent) -> tuple[list[DispatchEffect], asyncio.Future[None] | None]:
        """Let the brain decide. What it says is told as soon as it is saved, whoever still waits for that by then."""
        effects = self._brain.handle(event, self._clock.now_ms())
        changes = [effect.change for effect in effects if isinstance(effect, Save)]
        is_ahead = not self._commits.is_idle and (effects or isinstance(event, AgentSpoke))
        if not changes and not is_ahead:  # what follows from a turn that is still being saved waits for it
            self._tell(effects)
            return effects, None
        saved = self._commits.ask(changes)
        saved.add_done_callback(lambda done: None if done.exception() else self._tell(effects))
        return effects, saved

    def _tell(self, effects: list[DispatchEffect]) -> None:
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: DispatchEffect) -> None:
        match effect:
            case NotifyClient():
                self._client(effect.client_id).put(self._sealed(effect.event))
            case DropClient():
                self._clients.pop(effect.client_id, None)
            case OrderAgent():
                self._order(effect)
            case Log():
                log.info(effect.text)
            case Save() | AnswerClient() | AnswerPool() | ReportCleanup():
                pass

    def _sealed(self, event: ClientEvent) -> ClientEvent:
        """With the ticket that the agent wants to see, if it sends the client there."""
        if not isinstance(event, Assigned | SpeechReady):
            return event
        job = self._brain.jobs.get(event.job_id)
        if job is None or job.attempt != event.attempt:  # what has become of it meanwhile, the client will hear
            return event
        key = agent_key(self._secret, job.node, job.incarnation)
        return msgspec.structs.replace(event, token=attempt_token(key, event.job_id, event.attempt))

    async def _commit(self, turns: list[Sequence[Change]]) -> list[None]:
        """Commit the changes of all these turns in one round trip; repeat until the store has them."""
        changes = [change for turn in turns for change in turn]
        while changes or self._is_probing:
            try:
                await self._store.commit(changes)
            except StoreEmptiedError as error:
                self._save_all(error)
            except StoreDownError as error:
                if not self._store_error:
                    log.error("the store does not answer, results are held: %s", error)  # noqa: TRY400  # no traceback wanted
                    self._decide(StoreWentAway())
                self._store_error = str(error)
                await asyncio.sleep(STORE_RETRY_S)
                continue
            if self._store_error:
                log.info("the store answers again")
                self._store_error = ""
                self._decide(StoreCameBack())
            self._is_probing = False
            break
        return [None] * len(turns)

    def _save_all(self, emptied: StoreEmptiedError) -> None:
        """The store has taken these changes and lost all before them: the brain has it written again."""
        if self._saving_all is None:
            log.error("%s; all is written again", emptied)
            _, saved = self._decide(StoreWasEmptied())
            self._saving_all = asyncio.create_task(self._vouch_after(saved))

    async def _vouch_after(self, saved: asyncio.Future[None] | None) -> None:
        if saved is not None:
            await saved
        await retry_until_answered(self._store.vouch)
        self._saving_all = None

    def _order(self, effect: OrderAgent) -> None:
        if effect.agent not in self._orders:
            self._orders[effect.agent] = Outbox(
                lambda orders: self._send_orders(effect.agent, orders),
                on_lost=lambda orders, error: self._orders_lost(effect.agent, orders, error),
            )
        self._orders[effect.agent].put((effect.incarnation, effect.order))

    async def _send_orders(self, agent: str, orders: list[tuple[int, AgentOrder]]) -> list[None]:
        peer = self._directory.peer(agent)
        for incarnation in sorted({incarnation for incarnation, _ in orders}):
            mine = tuple(order for n, order in orders if n == incarnation)
            key = agent_key(self._secret, agent.removeprefix("agent:"), incarnation)
            raw = encode(AgentOrders(incarnation=incarnation, key=key, orders=mine))
            await peer.call("order", raw, timeout_s=_ORDER_TIMEOUT_S)
        return [None] * len(orders)

    def _orders_lost(self, agent: str, orders: list[tuple[int, AgentOrder]], error: Exception) -> None:
        """An agent that cannot be reached is repeated its orders by the sweep, or is lost and needs none."""
        if isinstance(error, PeerGoneError):
            self._orders.pop(agent, None)
        if not isinstance(error, PeerGoneError | PeerUnavailableError):
            log.warning("%d orders failed: %s", len(orders), error)
