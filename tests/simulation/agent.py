"""A node's agent in virtual time: takes what fits, runs it, reports until it is heard. Can freeze and die.

It does what ``ray_sched/agent/agent.py`` does, with an engine that hangs, fails and refuses while the world is wild.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ray_sched.core.effects import AgentSpoke, DispatchEffect
from ray_sched.core.errors import Code
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    AgentOrder,
    DropSpeech,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
)
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.nodes.effects import SpawnAgent
from tests.simulation.network import AnswerT, Reply

if TYPE_CHECKING:
    from tests.simulation.world import World

Key = tuple[str, int]
"""Job id and attempt."""
SPEECH_TTL_MS = 30_000
POISON = "poison"
"""The name of jobs that kill the agent they run on."""
_BYTES_PER_MS = 32


class Agent:
    """One incarnation of the agent of one node."""

    def __init__(self, world: "World", spawn: SpawnAgent) -> None:
        self.world = world
        self.node = spawn.node
        self.incarnation = spawn.incarnation
        self.slots = spawn.slots
        self.declared = spawn.declared
        self.is_alive = True
        self.is_frozen = False
        self.is_cut_off = False
        self.is_deaf = False
        """Nothing reaches it: its network is cut in this direction."""
        self.is_mute = False
        """Nothing it says reaches anybody."""
        self.is_draining = False
        self.running: dict[Key, JobSpec] = {}
        self.ledger: Ledger[Key] = Ledger()
        self.n_refused_because_full = 0
        self.watchers: list[Callable[[], None]] = []
        self._seen: set[Key] = set()
        self._missed: list[Callable[[], None]] = []
        self._outbox: list[AgentMessage] = []
        self._is_sending = False
        self._beat()

    # --- what others ask of it

    def push(self, job_id: str, attempt: int, spec: JobSpec, incarnation: int, reply: Reply[str]) -> None:
        """A client brings audio. Empty: it is here."""
        if not self.is_deaf:
            self._awake(lambda: self._answer(reply, self._take((job_id, attempt), spec, incarnation)))

    def _take(self, key: Key, spec: JobSpec, incarnation: int) -> str:
        if incarnation != self.incarnation:
            return "another incarnation was meant"
        if key not in self.running:
            why = self._why_refused(key)
            if why:
                self._seen.add(key)
                self.world.note(key[0], f"{self.node}.{self.incarnation} refuses attempt {key[1]}: {why}")
                self.report(RunRefused(job_id=key[0], attempt=key[1], why=why))
                return why
            self._start(key, spec)
        n_bytes = spec.audio_ms * _BYTES_PER_MS
        self.report(RunAccepted(job_id=key[0], attempt=key[1], audio_ms=spec.audio_ms, audio_bytes=n_bytes))
        return ""

    def _why_refused(self, key: Key) -> str:
        if key in self._seen:
            return "this attempt was pushed or stopped here before"
        if len(self.running) >= self.slots:
            self.n_refused_because_full += 1
            return f"all {self.slots} slots are taken"
        if self.is_draining:
            return "the node is draining"
        is_moody = self.world.is_wild and self.world.rng.random() < 0.05
        return "no slot of the engine is free" if is_moody else ""

    def _start(self, key: Key, spec: JobSpec) -> None:
        self._seen.add(key)
        self.running[key] = spec
        self.world.note(key[0], f"{self.node}.{self.incarnation} runs attempt {key[1]}")
        self.ledger.open(key, AudioState.RUNNING, spec.audio_ms * _BYTES_PER_MS)
        if spec.name == POISON:
            self.world.net.after(self.world.rng.randint(1, 500), lambda: self._awake(lambda: self._die_of(key)))
        elif not (self.world.is_wild and self.world.rng.random() < 0.05):  # else it hangs until it is stopped
            run_ms = max(1, int(spec.audio_ms * self.world.rng.uniform(0.2, 1.2)))
            self.world.net.after(run_ms, lambda: self._awake(lambda: self._end(key)))

    def _die_of(self, key: Key) -> None:
        """What a poison job does."""
        if key in self.running:
            self.world.note(key[0], f"{self.node}.{self.incarnation} dies of it")
            self.world.n_killed[key[0]] = self.world.n_killed.get(key[0], 0) + 1
            self.world.end_agent(self)

    def obey(self, incarnation: int, order: AgentOrder) -> None:
        """The Dispatcher's order."""
        if not self.is_deaf:
            self._awake(lambda: self._obey(incarnation, order))

    def _obey(self, incarnation: int, order: AgentOrder) -> None:
        """A stop is always confirmed, and a push that comes after it is refused."""
        key = (order.job_id, order.attempt)
        if incarnation != self.incarnation:
            return
        self.drop_speech(key)
        if isinstance(order, DropSpeech):
            return
        self._seen.add(key)
        if self.running.pop(key, None):
            self.ledger.move(key, AudioState.RELEASED)
        self.report(RunStopped(job_id=order.job_id, attempt=order.attempt))

    def take_speech(self, key: Key, reply: Reply[bool]) -> None:
        """A client fetches speech."""
        if not self.is_deaf:
            self._awake(lambda: self._answer(reply, self.ledger.state(key) is AudioState.SPOKEN))

    def _answer(self, reply: Reply[AnswerT], answer: AnswerT) -> None:
        if not self.is_mute:
            reply(answer)

    def drop_speech(self, key: Key) -> None:
        """Nobody fetches it any more, or nobody came for too long."""
        if self.ledger.state(key) is AudioState.SPOKEN:
            self.ledger.move(key, AudioState.RELEASED)

    # --- its life

    def freeze(self, duration_ms: int) -> None:
        """Nothing moves for a while; what comes meanwhile is done afterwards, if it lives until then."""
        self.is_frozen = True
        self.world.net.after(duration_ms, self.thaw)

    def thaw(self) -> None:
        """It goes on as if no time had passed."""
        self.is_frozen = False
        missed, self._missed = self._missed, []
        for what in missed:
            self._awake(what)

    def cut(self, duration_ms: int, *, is_deaf: bool, is_mute: bool) -> None:
        """The network is cut in one or both directions; it goes on, and does not know."""
        self.is_deaf, self.is_mute = is_deaf, is_mute
        self.world.net.after(duration_ms, self.mend)

    def mend(self) -> None:
        """The network is there again."""
        self.is_deaf = self.is_mute = False

    def die(self) -> None:
        """The process is gone, with all that was in it; those who watch notice soon, or only by its silence."""
        self.is_alive = False
        self.running.clear()
        self.ledger = Ledger()
        for notice in self.watchers:
            if not self.world.is_wild or self.world.rng.random() < 0.5:
                self.world.net.after(self.world.rng.randint(10, 1_000), notice)

    def _awake(self, what: Callable[[], None]) -> None:
        if not self.is_alive:
            return
        if self.is_frozen:
            self._missed.append(what)
        else:
            what()

    # --- what it does

    def _end(self, key: Key) -> None:
        if key not in self.running:
            return
        spec = self.running.pop(key)
        die = self.world.rng.random()
        if self.world.is_wild and die < 0.08:
            self.ledger.move(key, AudioState.RELEASED)
            code = Code.ENGINE_CRASHED if die < 0.01 else Code.ENGINE_FAILED
            code = code if die < 0.05 else Code.MODEL_NOT_AVAILABLE
            self.report(RunFailed(job_id=key[0], attempt=key[1], code=code, why="it broke", service=spec.services[-1]))
            return
        speech_bytes = 640 if "tts" in spec.services else 0
        if speech_bytes:
            self.ledger.move(key, AudioState.SPOKEN, speech_bytes)
            self.world.net.after(SPEECH_TTL_MS, lambda: self.drop_speech(key))
        else:
            self.ledger.move(key, AudioState.RELEASED)
        if spec.wants_partials:
            self.report(RunPartial(job_id=key[0], attempt=key[1], text="..."))
        text = "" if die > 0.9 else f"attempt {key[1]} of {spec.request_id} on {self.node}.{self.incarnation}"
        self.world.note(key[0], f"{self.node}.{self.incarnation} has run attempt {key[1]}")
        self.report(
            RunFinished(
                job_id=key[0],
                attempt=key[1],
                text=text,
                run_ms=9,
                speech_bytes=speech_bytes,
                speech_rate_hz=22_050 if speech_bytes else 0,
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

        def ask(reply: Reply[list[DispatchEffect]]) -> None:
            if not self.is_mute:
                self.world.dispatcher.handle(batch, reply)

        def heard(_: list[DispatchEffect]) -> None:
            if self.is_deaf:
                self.world.net.after(1_000, lambda: self._awake(failed))
                return
            del self._outbox[: len(batch.messages)]
            failed()

        def failed() -> None:
            self._is_sending = False
            self._send()

        self.world.net.call(
            ask,
            lambda answer: self._awake(lambda: heard(answer)),
            lambda: self._awake(failed),
        )

    def _beat(self) -> None:
        if not self.is_alive:
            return
        beat = Heartbeat(
            node=self.node,
            incarnation=self.incarnation,
            is_loaded=True,
            is_healthy=not (self.world.is_wild and self.world.rng.random() < 0.05),
            capability=self.declared,
            running=len(self.running),
        )
        if not self.is_mute:
            self.world.net.post(lambda: self.world.registry.handle_heartbeat(beat, self._handle_registry))
        self.world.net.after(500, lambda: self._awake(self._beat))

    def _handle_registry(self, answer: BeatReply) -> None:
        def arrive() -> None:
            if self.is_deaf:
                return
            self.is_draining = answer.is_draining
            if not answer.is_current:
                self.world.end_agent(self)

        self.world.net.post(lambda: self._awake(arrive))
