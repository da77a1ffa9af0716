"""A small world in virtual time: real brains, scripted clients and agents, and a network that misbehaves by a seed.

What may be lost, repeated or reordered is exactly what the real wire may lose, repeat or reorder: calls fail on either
way and are made again, orders, offers and heartbeats just vanish, and one agent's reports keep their order. After
:meth:`World.heal` the network is good and engines behave; whatever happened before, everything has to come to its end.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

import msgspec

from ray_sched.core.capability import Capability
from ray_sched.core.dispatch import DispatchBrain
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    AnswerPool,
    CleanupDue,
    ClientPolled,
    ClientSpoke,
    ClosePool,
    DispatchEvent,
    DropClient,
    OpenPool,
    OrderAgent,
    PoolClosed,
    PoolOffered,
    RegistryEffect,
    Save,
    SpawnAgent,
    StopAgent,
    Swept,
    TellClient,
    TellPool,
)
from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.mailbox import Mailbox
from ray_sched.core.messages import (
    Accepted,
    AgentMessage,
    AgentOrder,
    Answer,
    Assigned,
    Cancel,
    ClientEvent,
    ClientMessage,
    Delivered,
    DropSpeech,
    Heartbeat,
    JobSpec,
    LeaseReceipt,
    Mail,
    MissingResult,
    Outcome,
    PoolMembers,
    PushFailed,
    Refused,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
    SpeechLost,
    SpeechReady,
    SpeechTaken,
    Submit,
)
from ray_sched.core.pool import PoolBrain
from ray_sched.core.registry import RayNode, RegistryBrain
from ray_sched.core.rules import DeliveryRules, DispatchRules, NodeRules, PoolRules, SelectionRules

AnswerT = TypeVar("AnswerT")
Key = tuple[str, int]
"""Job id and attempt."""

RULES = DispatchRules(run_timeout_ms=3_000, run_timeout_factor=2.0)
KINDS: dict[str, dict[str, str]] = {
    "en": {"asr": "en"},
    "es": {"asr": "en", "mt": "en_es", "tts": "es"},
}
_CALL_TIMEOUT_MS = 1_000
_SPEECH_TTL_MS = 30_000


class Network:
    """Virtual time, and messages on their way. ``drop`` and ``repeat`` are chances, 0 once healed."""

    def __init__(self, rng: random.Random, drop: float, repeat: float) -> None:
        self.rng = rng
        self.drop = drop
        self.repeat = repeat
        self.now_ms = 1_000_000
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def after(self, delay_ms: int, then: Callable[[], None]) -> None:
        """Do it when so much time has passed."""
        heapq.heappush(self._due, (self.now_ms + delay_ms, next(self._number), then))

    def every(self, period_ms: int, then: Callable[[], object]) -> None:
        """Do it again and again."""

        def again() -> None:
            then()
            self.after(period_ms, again)

        self.after(self.rng.randint(1, period_ms), again)

    def post(self, then: Callable[[], None]) -> None:
        """Send something that may vanish, come twice, or come after what was sent later."""
        if self.rng.random() >= self.drop:
            self.after(self._delay_ms(1_500), then)
            if self.rng.random() < self.repeat:
                self.after(self._delay_ms(2_500), then)

    def call(self, ask: Callable[[], AnswerT], then: Callable[[AnswerT], None], otherwise: Callable[[], None]) -> None:
        """Ask and get an answer; if either way fails, ``otherwise`` happens after a while. Never both."""
        is_over = False

        def arrive() -> None:
            answer = ask()
            if self.rng.random() >= self.drop:
                self.after(self._delay_ms(400), lambda: end(lambda: then(answer)))

        def end(how: Callable[[], None]) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                how()

        if self.rng.random() >= self.drop:
            self.after(self._delay_ms(400), arrive)
        self.after(_CALL_TIMEOUT_MS, lambda: end(otherwise))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + duration_ms
        while self._due and self._due[0][0] <= end_ms:
            self.now_ms, _, then = heapq.heappop(self._due)
            then()
        self.now_ms = end_ms

    def _delay_ms(self, most_ms: int) -> int:
        return self.rng.randint(1, most_ms if self.rng.random() < self.drop else 30)


class Dispatcher:
    """The shell around the real brain: one event at a time, saves before it tells, keeps the mailboxes."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.brain = DispatchBrain("boot", RULES, DeliveryRules(), SelectionRules())
        self.mail: dict[str, Mailbox] = {}
        self._lives: Counter[str] = Counter()
        self.stored: set[str] = set()

    def hear(self, event: DispatchEvent) -> tuple[Answer, ...] | LeaseReceipt | None:
        """Tell the brain; carry out what it says; the answer, if there is one."""
        effects = self.brain.handle(event, self._world.net.now_ms)
        kinds = [isinstance(effect, Save) for effect in effects]
        assert kinds == sorted(kinds, reverse=True), "something is told before it is saved"
        answer: tuple[Answer, ...] | LeaseReceipt | None = None
        for effect in effects:
            match effect:
                case TellClient():
                    self.mail.setdefault(effect.client_id, Mailbox()).put(effect.event)
                case DropClient():
                    self.mail.pop(effect.client_id, None)
                    self._lives[effect.client_id] += 1
                case OrderAgent():
                    self._world.order(effect)
                case AnswerClient():
                    answer = effect.answers
                case AnswerPool():
                    answer = effect.receipt
                case _:
                    pass
        return answer

    def batch(self, client_id: str, messages: tuple[ClientMessage, ...]) -> tuple[tuple[Answer, ...], Mail]:
        """A client's batch: the answers, and mail."""
        found = self.hear(ClientSpoke(client_id, messages))
        assert isinstance(found, tuple)
        return found, self._mail(client_id)

    def poll(self, client_id: str, boot: str, acked: int, *, is_resync: bool) -> Mail:
        """A client's poll: its mail. A number of another mailbox acknowledges nothing."""
        self.hear(ClientPolled(client_id))
        box = self.mail.setdefault(client_id, Mailbox())
        if boot == self._boot(client_id):
            box.acknowledge(acked)
        if is_resync:
            box.resync()
        return self._mail(client_id)

    def _mail(self, client_id: str) -> Mail:
        last, events = self.mail.setdefault(client_id, Mailbox()).take()
        return Mail(boot=self._boot(client_id), last=last, events=events)

    def _boot(self, client_id: str) -> str:
        return f"boot.{self._lives[client_id]:03}"


class Agent:
    """A node's agent: takes what fits, runs it, reports until it is heard."""

    def __init__(self, world: "World", spawn: SpawnAgent) -> None:
        self.world = world
        self.node = spawn.node
        self.incarnation = spawn.incarnation
        self.slots = spawn.slots
        self.declared = spawn.declared
        self.is_alive = True
        self.running: dict[Key, JobSpec] = {}
        self.ledger: Ledger[Key] = Ledger()
        self.n_refused_because_full = 0
        self.most_running = 0
        self._answered: dict[Key, str] = {}
        self._outbox: list[AgentMessage] = []
        self._is_sending = False
        self._beat()

    # --- what others ask of it

    def push(self, job_id: str, attempt: int, spec: JobSpec, incarnation: int) -> str:
        """A client brings audio. Empty: it is here. Asked twice, it answers the same."""
        key = (job_id, attempt)
        if incarnation != self.incarnation:
            return "not the incarnation you look for"
        if key not in self._answered:
            self._answered[key] = self._take(key, spec)
        return self._answered[key]

    def _take(self, key: Key, spec: JobSpec) -> str:
        is_moody = self.world.is_wild and self.world.rng.random() < 0.05
        if len(self.running) >= self.slots or is_moody:
            self.n_refused_because_full += not is_moody
            self.report(RunRefused(job_id=key[0], attempt=key[1], why="full"))
            return "full"
        self.running[key] = spec
        self.most_running = max(self.most_running, len(self.running))
        self.ledger.open(key, AudioState.RUNNING, spec.audio_ms * 32)
        self.report(RunAccepted(job_id=key[0], attempt=key[1], audio_ms=spec.audio_ms, audio_bytes=spec.audio_ms * 32))
        if not (self.world.is_wild and self.world.rng.random() < 0.05):  # else it hangs until it is stopped
            self.world.net.after(max(1, int(spec.audio_ms * self.world.rng.uniform(0.2, 1.2))), lambda: self._end(key))
        return ""

    def obey(self, incarnation: int, order: AgentOrder) -> None:
        """The Dispatcher's order. A stop is always confirmed, and a push that comes after it is refused."""
        key = (order.job_id, order.attempt)
        if not self.is_alive or incarnation != self.incarnation:
            return
        if isinstance(order, DropSpeech):
            self.drop_speech(key)
            return
        self._answered.setdefault(key, "it was stopped")
        if self.running.pop(key, None):
            self.ledger.move(key, AudioState.RELEASED)
        self.report(RunStopped(job_id=order.job_id, attempt=order.attempt))

    def take_speech(self, key: Key) -> bool:
        """A client fetches speech."""
        return self.is_alive and self.ledger.state(key) is AudioState.SPOKEN

    def drop_speech(self, key: Key) -> None:
        """Nobody fetches it any more, or nobody came for too long."""
        if self.ledger.state(key) is AudioState.SPOKEN:
            self.ledger.move(key, AudioState.RELEASED)

    def die(self) -> None:
        """The process is gone, with all that was in it."""
        self.is_alive = False
        self.running.clear()
        self.ledger = Ledger()

    # --- what it does

    def _end(self, key: Key) -> None:
        if not self.is_alive or key not in self.running:
            return
        spec = self.running.pop(key)
        die = self.world.rng.random()
        if self.world.is_wild and die < 0.08:
            self.ledger.move(key, AudioState.RELEASED)
            code = Code.ENGINE_FAILED if die < 0.05 else Code.MODEL_NOT_AVAILABLE
            self.report(RunFailed(job_id=key[0], attempt=key[1], code=code, why="it broke", service=spec.services[-1]))
            return
        speech_bytes = 640 if "tts" in spec.services else 0
        if speech_bytes:
            self.ledger.move(key, AudioState.SPOKEN, speech_bytes)
            self.world.net.after(_SPEECH_TTL_MS, lambda: self.drop_speech(key))
        else:
            self.ledger.move(key, AudioState.RELEASED)
        if spec.wants_partials:
            self.report(RunPartial(job_id=key[0], attempt=key[1], text="..."))
        text = "" if die > 0.9 else f"text of {spec.request_id}"
        rate_hz = 22_050 if speech_bytes else 0
        self.report(
            RunFinished(
                job_id=key[0], attempt=key[1], text=text, run_ms=9, speech_bytes=speech_bytes, speech_rate_hz=rate_hz
            )
        )

    def report(self, message: AgentMessage) -> None:
        """Tell the Dispatcher, after all that was told before, again and again until it has heard."""
        self._outbox.append(message)
        self._send()

    def _send(self) -> None:
        if self._is_sending or not self._outbox or not self.is_alive:
            return
        batch = AgentSpoke(self.node, self.incarnation, tuple(self._outbox))
        self._is_sending = True

        def heard(_: object) -> None:
            del self._outbox[: len(batch.messages)]
            failed()

        def failed() -> None:
            self._is_sending = False
            self._send()

        self.world.net.call(lambda: self.world.dispatcher.hear(batch), heard, failed)

    def _beat(self) -> None:
        if not self.is_alive:
            return
        beat = Heartbeat(
            node=self.node,
            incarnation=self.incarnation,
            is_loaded=True,
            is_healthy=not (self.world.is_wild and self.world.rng.random() < 0.05),
            capability=msgspec.json.decode(self.declared, type=Capability),
            running=len(self.running),
            most_running=self.most_running,
        )
        self.world.net.post(lambda: self.world.hear_beat(self, beat))
        self.world.net.after(500, self._beat)


class Want:
    """What a client wants to be done, and what it knows of it."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.job_id = ""
        self.attempt = 0
        self.n_pushing = 0
        self.is_refused = False
        self.outcome: Outcome | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.is_refused or self.outcome is not None


class Client:
    """A client as it has to be: resends what was not answered, pushes when told, takes speech, checks the order."""

    def __init__(self, world: "World", client_id: str) -> None:
        self.world = world
        self.client_id = client_id
        self.wants: dict[str, Want] = {}
        self.ledger: Ledger[str] = Ledger()
        self.is_asleep = False
        self.n_lives = 0
        self._jobs: dict[str, Want] = {}
        self._boot = "boot.000"
        self._acked = 0
        self._is_resync = False
        self._unhandled: deque[ClientEvent] = deque()
        self._outbox: list[ClientMessage] = []
        self._is_sending = False
        self._done_in: dict[str, int] = {}
        self._missing: dict[str, set[int]] = {}
        world.net.after(1, self._poll)
        world.net.every(500, self._send)

    # --- what its user asks

    def submit(self, **changes: object) -> Want:
        """One more job, with a request id of its own. Sessions of an earlier life are not gone on with."""
        facts: dict[str, object] = {"request_id": f"{self.client_id}-{len(self.wants)}", "src": "en", "tgt": "en"}
        facts |= {"audio_ms": self.world.rng.randint(100, 2_000)} | changes
        if facts.get("session"):
            facts["session"] = f"{facts['session']}/{self.n_lives}"
        want = Want(JobSpec(**facts))  # type: ignore[arg-type]
        self.wants[want.spec.request_id] = want
        self.ledger.open(want.spec.request_id, AudioState.HELD, want.spec.audio_ms * 32)
        self._say(Submit(spec=want.spec))
        return want

    def cancel(self, want: Want) -> None:
        """The job is no longer wanted; nothing happens before its id is known."""
        if want.job_id:
            self._say(Cancel(job_id=want.job_id))

    # --- calls

    def _say(self, message: ClientMessage) -> None:
        self._outbox.append(message)
        self._send()

    def _send(self) -> None:
        if self._is_sending or not self._outbox or self.is_asleep:
            return
        batch = tuple(self._outbox)
        self._outbox.clear()
        self._is_sending = True

        def answered(reply: tuple[tuple[Answer, ...], Mail]) -> None:
            self._is_sending = False
            asked = [message for message in batch if isinstance(message, Submit | Cancel)]
            for message, answer in zip(asked, reply[0], strict=True):
                if isinstance(message, Submit):
                    self._hear_answer(self.wants[message.spec.request_id], answer)
            self._take(reply[1])
            self._send()

        def failed() -> None:
            self._is_sending = False
            self._is_resync = True
            self._outbox[:0] = batch

        self.world.net.call(lambda: self.world.dispatcher.batch(self.client_id, batch), answered, failed)

    def _hear_answer(self, want: Want, answer: Answer) -> None:
        if isinstance(answer, Accepted):
            assert want.job_id in {"", answer.job_id}, "one request id, two jobs"
            want.job_id = answer.job_id
            self._jobs[answer.job_id] = want
            self._handle()
        elif isinstance(answer, Refused):
            want.is_refused = True
            self._release(want)

    def _poll(self) -> None:
        if self.is_asleep:
            self.world.net.after(200, self._poll)
            return
        boot, acked, is_resync = self._boot, self._acked, self._is_resync
        self._is_resync = False

        def answered(mail: Mail) -> None:
            self._take(mail)
            self.world.net.after(100, self._poll)

        def failed() -> None:
            self._is_resync = True
            self._poll()

        poll = self.world.dispatcher.poll
        self.world.net.call(lambda: poll(self.client_id, boot, acked, is_resync=is_resync), answered, failed)

    def _take(self, mail: Mail) -> None:
        """Mail overlaps after a resync and has a hole when an answer was lost or is still on its way."""
        if mail.boot < self._boot:
            return
        first = mail.last - len(mail.events) + 1
        if mail.boot != self._boot:
            self._boot, self._acked = mail.boot, 0
            self.n_lives += 1
            self._unhandled.clear()
            for want in self.wants.values():
                if not want.is_over:
                    want.attempt = 0
                    self._outbox.append(Submit(spec=want.spec))
        if first > self._acked + 1:
            self._is_resync = True
            return
        n_known = self._acked + 1 - first
        self._unhandled.extend(mail.events[n_known:])
        self._acked = max(self._acked, mail.last)
        self._handle()

    # --- events

    def _handle(self) -> None:
        """Handle events in order, as far as the jobs they speak of are known: mail may be quicker than an answer."""
        while self._unhandled:
            event = self._unhandled[0]
            if not isinstance(event, MissingResult) and event.job_id not in self._jobs:
                return
            self._unhandled.popleft()
            match event:
                case Assigned():
                    self._push(self._jobs[event.job_id], event)
                case SpeechReady():
                    self._fetch(event)
                case Delivered():
                    self._deliver(self._jobs[event.job_id], event)
                case MissingResult():
                    missing = range(event.first_index, event.last_index + 1)
                    self._missing.setdefault(event.session, set()).update(missing)
                case _:
                    pass

    def _push(self, want: Want, event: Assigned) -> None:
        if want.is_over or event.attempt <= want.attempt:
            return
        want.attempt = event.attempt
        want.n_pushing += 1
        request_id = want.spec.request_id
        if self.ledger.state(request_id) is AudioState.HELD:
            self.ledger.move(request_id, AudioState.STORED)

        def over() -> None:
            want.n_pushing -= 1
            if not want.n_pushing and self.ledger.state(request_id) is AudioState.STORED:
                self.ledger.move(request_id, AudioState.HELD)

        def answered(why_not: str | None) -> None:
            over()
            if why_not is None:
                self._say(PushFailed(job_id=event.job_id, attempt=event.attempt, why="there is no agent"))

        def failed() -> None:
            over()
            self._say(PushFailed(job_id=event.job_id, attempt=event.attempt, why="no answer"))

        self.world.net.call(lambda: self.world.push(event, want.spec), answered, failed)

    def _fetch(self, event: SpeechReady) -> None:
        key = (event.job_id, event.attempt)

        def answered(is_there: object) -> None:
            taken = SpeechTaken(job_id=event.job_id, attempt=event.attempt)
            self._say(taken if is_there else SpeechLost(job_id=event.job_id, attempt=event.attempt, why="gone"))

        def failed() -> None:
            self._say(SpeechLost(job_id=event.job_id, attempt=event.attempt, why="no answer"))

        def ask() -> bool:
            agent = self.world.agents.get(event.agent)
            return agent is not None and agent.take_speech(key)

        self.world.net.call(ask, answered, failed)

    def _deliver(self, want: Want, event: Delivered) -> None:
        if want.outcome is not None:
            assert event.outcome == want.outcome, "one job, two outcomes"
            return
        want.outcome = event.outcome
        self._release(want)
        if event.utterance_index is not None and event.session.endswith(f"/{self.n_lives}"):
            self._check_order(event.session, event.utterance_index, is_late=event.is_late)

    def _check_order(self, session: str, index: int, *, is_late: bool) -> None:
        """In session order, what is left out was announced, what comes after that is marked late."""
        missing = self._missing.setdefault(session, set())
        if is_late:
            assert index in missing, f"{session}: {index} is late and was never missing"
            missing.discard(index)
            return
        before = self._done_in.get(session, -1)
        assert index > before, f"{session}: {index} after {before}"
        assert set(range(before + 1, index)) <= missing, f"{session}: nobody said what is before {index}"
        self._done_in[session] = index

    def _release(self, want: Want) -> None:
        if self.ledger.state(want.spec.request_id) is not AudioState.RELEASED:
            self.ledger.move(want.spec.request_id, AudioState.RELEASED)


class World:
    """All of it together. ``is_wild`` until it is healed: engines fail and hang, the network misbehaves."""

    def __init__(self, seed: int, *, drop: float = 0.15, repeat: float = 0.1, n_clients: int = 2) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # a replayable world, no secret
        self.net = Network(self.rng, drop, repeat)
        self.is_wild = True
        self.dispatcher = Dispatcher(self)
        self.registry = RegistryBrain(1, NodeRules(), PoolRules())
        self.pools: dict[str, PoolBrain] = {}
        self.agents: dict[str, Agent] = {}
        self.graveyard: list[Agent] = []
        self.ray_nodes: dict[str, RayNode] = {}
        self.clients = [Client(self, f"c{n}") for n in range(n_clients)]
        self._n_joined = 0
        self.net.every(250, self._look)
        self.net.every(500, lambda: self._perform(self.registry.tick(self.net.now_ms)))
        self.net.every(200, lambda: self.dispatcher.hear(Swept()))
        self.net.every(20_000, lambda: self.dispatcher.hear(CleanupDue(60_000)))

    # --- what can happen

    def join(self, kind: str = "en", slots: int = 2) -> str:
        """One more machine."""
        self._n_joined += 1
        name = f"node-{self._n_joined}"
        labels = {"engine": "echo", "slots": str(slots), "node": name} | KINDS[kind]
        self.ray_nodes[name] = RayNode(
            ray_node_id=f"ray-{name}", labels={f"ray-sched.io/{key}": value for key, value in labels.items()}
        )
        return name

    def leave(self, name: str) -> None:
        """A machine is switched off."""
        self.ray_nodes.pop(name, None)
        self._kill(f"agent:{name}")

    def crash(self, name: str) -> None:
        """An agent's process dies; its death is noticed soon, or only by its silence."""
        agent = self.agents.get(f"agent:{name}")
        if agent is None:
            return
        self._kill(f"agent:{name}")
        if self.rng.random() < 0.5:
            self.net.after(
                self.rng.randint(10, 1_000),
                lambda: self._perform(self.registry.agent_died(name, agent.incarnation, "it crashed", self.net.now_ms)),
            )

    def drain(self, name: str) -> None:
        """Somebody drains a node."""
        self._perform(self.registry.drain(name, 5_000, self.net.now_ms) or [])

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        self.net.run(duration_ms)

    def heal(self) -> None:
        """From now on the network is good, engines behave, clients are awake, and there is a node for everything."""
        self.is_wild = False
        self.net.drop = self.net.repeat = 0.0
        for kind in KINDS:
            self.join(kind)
        for client in self.clients:
            client.is_asleep = False

    def finish(self) -> None:
        """Heal, run time forward until nobody waits, and a while longer."""
        self.heal()
        for _ in range(60):
            self.run(2_000)
            self.check()
            if all(want.is_over for client in self.clients for want in client.wants.values()):
                break
        self.run(_SPEECH_TTL_MS + 15_000)
        self.check()
        self.check_the_end()

    # --- what has to hold

    def check(self) -> None:
        """All that must hold at any moment."""
        self.never_two_live_attempts()
        self.never_oversold()
        self.ledger_adds_up()

    def never_two_live_attempts(self) -> None:
        """An attempt runs on one node at most; of a job's attempts only the newest counts, the others hold a slot."""
        where = Counter(key for agent in self.agents.values() for key in agent.running)
        assert all(count == 1 for count in where.values()), where
        for job in self.dispatcher.brain.jobs.values():
            is_on_a_node = job.status in {JobStatus.ASSIGNED, JobStatus.PROCESSING}
            assert is_on_a_node == bool(job.node) or job.is_terminal

    def never_oversold(self) -> None:
        """No agent runs more than its slots or was ever brought more, and all it runs holds a slot in the brain."""
        for agent in [*self.agents.values(), *self.graveyard]:
            assert len(agent.running) <= agent.slots
            assert agent.n_refused_because_full == 0, f"{agent.node} was brought more than its slots"
            seat = self.dispatcher.brain.seats.get(agent.node)
            if seat and seat.incarnation == agent.incarnation:
                assert set(agent.running) <= set(seat.attempts())
                assert seat.n_free + seat.n_spent <= agent.slots

    def ledger_adds_up(self) -> None:
        """Every byte is in one state: held by the client until its job is over, and on the node while it runs."""
        for client in self.clients:
            open_bytes = sum(want.spec.audio_ms * 32 for want in client.wants.values() if not want.is_over)
            all_bytes = sum(want.spec.audio_ms * 32 for want in client.wants.values())
            assert client.ledger.bytes_in(AudioState.HELD, AudioState.STORED) == open_bytes
            assert client.ledger.bytes_in() + client.ledger.released_bytes == all_bytes
        for agent in self.agents.values():
            running_bytes = sum(spec.audio_ms * 32 for spec in agent.running.values())
            assert agent.ledger.bytes_in(AudioState.RUNNING) == running_bytes

    def check_the_end(self) -> None:
        """Everybody has one outcome, every slot is free, nothing waits, no byte is left, all can be forgotten."""
        brain = self.dispatcher.brain
        unfinished = [want.spec for client in self.clients for want in client.wants.values() if not want.is_over]
        assert unfinished == []
        assert [job.job_id for job in brain.jobs.values() if not job.is_terminal] == []
        assert (len(brain.waiting), brain.waiting.heads()) == (0, [])
        for seat in brain.seats.values():
            assert (seat.n_spent, seat.n_free, seat.in_flight_ms) == (0, seat.total_slots, 0), seat.node
        ready = {name for name, node in self.registry.nodes.items() if node.status == "ready"}
        assert set(brain.seats) == ready
        for client in self.clients:
            assert (len(client.ledger), client.ledger.bytes_in()) == (0, 0)
        for agent in self.agents.values():
            assert (len(agent.ledger), agent.ledger.bytes_in()) == (0, 0)
        self.dispatcher.hear(CleanupDue(0))
        assert (brain.jobs, len(brain.ended)) == ({}, 0)
        assert all(session.is_idle for session in brain.sessions.values())
        assert set(self.dispatcher.mail) == {client.client_id for client in self.clients}
        assert all(len(box) <= 1 for box in self.dispatcher.mail.values())

    # --- who carries what to whom

    def push(self, event: Assigned, spec: JobSpec) -> str | None:
        """A client's push: why not, or empty; None if there is no agent."""
        agent = self.agents.get(event.agent)
        return agent.push(event.job_id, event.attempt, spec, event.incarnation) if agent else None

    def order(self, effect: OrderAgent) -> None:
        """The Dispatcher's order, that may be lost."""

        def arrive() -> None:
            agent = self.agents.get(effect.agent)
            if agent:
                agent.obey(effect.incarnation, effect.order)

        self.net.post(arrive)

    def hear_beat(self, agent: Agent, beat: Heartbeat) -> None:
        """A heartbeat reaches the Registry; its answer may be lost."""
        reply, effects = self.registry.hear_beat(beat, self.net.now_ms)
        self._perform(effects)
        if not reply.is_current:
            self.net.post(lambda: self._end_old(agent))

    def _end_old(self, agent: Agent) -> None:
        if self.agents.get(f"agent:{agent.node}") is agent:
            self._kill(f"agent:{agent.node}")

    def _look(self) -> None:
        self._perform(self.registry.see_ray_nodes(list(self.ray_nodes.values()), self.net.now_ms))

    def _kill(self, name: str) -> None:
        agent = self.agents.pop(name, None)
        if agent:
            agent.die()
            self.graveyard.append(agent)

    def _perform(self, effects: list[RegistryEffect]) -> None:
        for effect in effects:
            match effect:
                case SpawnAgent():
                    self._spawn(effect)
                case StopAgent():
                    self._kill(effect.agent)
                case OpenPool():
                    self.pools[effect.pool] = PoolBrain(effect.pool, self.net.now_ms, PoolRules())
                case ClosePool():
                    self.pools.pop(effect.pool, None)
                    self.dispatcher.hear(PoolClosed(effect.pool))
                case TellPool():
                    self._tell_pool(effect.members)
                case _:
                    pass

    def _spawn(self, effect: SpawnAgent) -> None:
        def start() -> None:
            node = self.registry.nodes.get(effect.node)
            is_wanted = (
                node is not None and node.incarnation == effect.incarnation and node.status not in {"lost", "gone"}
            )
            if is_wanted and effect.node in self.ray_nodes:
                self._kill(effect.agent)
                self.agents[effect.agent] = Agent(self, effect)

        self.net.after(self.rng.randint(50, 500), start)

    def _tell_pool(self, members: PoolMembers) -> None:
        def arrive() -> None:
            pool = self.pools.get(members.pool)
            offer = pool.hear_members(members) if pool else None
            if pool and offer:
                self.net.post(lambda: receipt(pool, self.dispatcher.hear(PoolOffered(offer))))

        def receipt(pool: PoolBrain, answer: object) -> None:
            assert isinstance(answer, LeaseReceipt)
            self.net.post(lambda: pool.hear_receipt(answer))

        self.net.post(arrive)


def act(world: World) -> None:
    """One thing happens, by the world's own chance."""
    rng = world.rng
    client = rng.choice(world.clients)
    nodes = sorted(world.ray_nodes)
    die = rng.random()
    if die < 0.60:
        submit_something(world, client)
    elif die < 0.68 and client.wants:
        client.cancel(rng.choice(list(client.wants.values())))
    elif die < 0.75:
        world.join(rng.choice(sorted(KINDS)))
    elif die < 0.82 and nodes:
        world.crash(rng.choice(nodes))
    elif die < 0.86 and nodes:
        world.leave(rng.choice(nodes))
    elif die < 0.90 and nodes:
        world.drain(rng.choice(nodes))
    elif die < 0.92:
        client.is_asleep = not client.is_asleep


def submit_something(world: World, client: Client) -> None:
    """A transcription or a spoken translation, in a session or not."""
    session = world.rng.choice(["", "s1", "s2"])
    if world.rng.random() < 0.3:
        client.submit(tgt="es", services=("asr", "mt", "tts"), session=session)
    else:
        client.submit(session=session, wants_partials=world.rng.random() < 0.5)


def run_world(seed: int, *, n_steps: int = 80, drop: float = 0.15, repeat: float = 0.1) -> World:
    """A whole life of a world: things happen, the network heals, everything ends. Raises AssertionError otherwise."""
    world = World(seed, drop=drop, repeat=repeat)
    for kind in KINDS:
        world.join(kind)
    for _ in range(n_steps):
        act(world)
        world.run(world.rng.randint(1, 600))
        world.check()
    world.finish()
    return world
