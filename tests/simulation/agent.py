"""A node's agent in virtual time: the shipped brain, an engine that hangs, fails and refuses while the world is wild.

This shell carries messages to the brain and does what the brain asks for. It freezes, is cut off, and dies.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import (
    AgentEffect,
    CancelRun,
    EndProcess,
    ForgetSpeech,
    RunCancelled,
    RunEnd,
    RunErred,
    RunReturned,
    StartRun,
)
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.effects import AgentSpoke, DispatchEffect
from ray_sched.core.errors import Code
from ray_sched.core.messages.agent_dispatcher import AgentOrder, AgentOrders, RunRefused
from ray_sched.core.messages.agent_registry import BeatReply, Load
from ray_sched.core.messages.client_agent import Push, PushItem
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.nodes.effects import SpawnAgent
from tests.simulation.network import AnswerT, Reply

if TYPE_CHECKING:
    from tests.simulation.world import World

SPEECH_TTL_MS = 30_000
POISON = "poison"
"""The name of jobs that kill the agent they run on."""
SPEECH_BYTES = 640
_BYTES_PER_MS = 32
_LOAD_MS = 3_000
_LOAD_TIMEOUT_MS = 20_000


class Agent:
    """One incarnation of the agent of one node."""

    def __init__(self, world: "World", spawn: SpawnAgent) -> None:
        self.world = world
        self.node = spawn.node
        self.incarnation = spawn.incarnation
        self.slots = spawn.slots
        self.is_alive = True
        self.is_frozen = False
        self.is_cut_off = False
        self.is_deaf = False
        """Nothing reaches it: its network is cut in this direction."""
        self.is_mute = False
        """Nothing it sends reaches anybody."""
        self.running: dict[AttemptKey, JobSpec] = {}
        """What its engine runs, whatever its brain believes."""
        self.speech: set[AttemptKey] = set()
        """Attempts whose speech is in its memory."""
        self.watchers: list[Callable[[], None]] = []
        self._pushed: dict[AttemptKey, JobSpec] = {}
        self._missed: list[Callable[[], None]] = []
        self._wakes_at_ms = 0
        self._is_model_loaded = True
        options = AgentOptions(
            node=spawn.node, incarnation=spawn.incarnation, slots=spawn.slots, speech_ttl_ms=SPEECH_TTL_MS
        )
        self.brain = AgentBrain(options, self)
        self.brain.engine_loaded(spawn.declared)
        self._beat()

    # --- what its brain asks

    def has_token(self, item: PushItem) -> bool:
        """Nobody here makes up tokens."""
        return item.n_bytes > 0

    def loads_within_ms(self) -> int:
        """Its model is unloaded now and then."""
        return 0 if self._is_model_loaded else _LOAD_TIMEOUT_MS

    def admit(self, item: PushItem) -> str | None:
        """The engine is moody while the world is wild."""
        del item
        is_moody = self.world.is_wild and self.world.rng.random() < 0.05
        return "no slot of the engine is free" if is_moody else None

    # --- what others ask of it

    def push(self, job_id: str, attempt: int, spec: JobSpec, incarnation: int, reply: Reply[str]) -> None:
        """A client brings audio. The reply is empty: what was accepted the Dispatcher is told."""
        item = PushItem(
            job_id=job_id,
            attempt=attempt,
            src=spec.src,
            tgt=spec.tgt,
            services=spec.services,
            wants_partials=spec.wants_partials,
            n_bytes=spec.audio_ms * _BYTES_PER_MS,
        )

        def arrive() -> None:
            self._pushed[job_id, attempt] = spec
            self._perform(self.brain.handle_push(Push(incarnation=incarnation, items=(item,)), self.world.net.now_ms))
            self._answer(reply, "")

        if not self.is_deaf:
            self._awake(arrive)

    def handle_order(self, incarnation: int, order: AgentOrder) -> None:
        """The Dispatcher's order."""
        orders = AgentOrders(incarnation=incarnation, orders=(order,))
        if not self.is_deaf:
            self._awake(lambda: self._perform(self.brain.handle_orders(orders, self.world.net.now_ms)))

    def fetch_speech(self, key: AttemptKey, reply: Reply[bool]) -> None:
        """A client fetches speech."""
        if not self.is_deaf:
            self._awake(lambda: self._answer(reply, key in self.speech))

    def _answer(self, reply: Reply[AnswerT], answer: AnswerT) -> None:
        if not self.is_mute:
            reply(answer)

    # --- what its brain asks for

    def _perform(self, effects: list[AgentEffect]) -> None:
        for effect in effects:
            match effect:
                case StartRun():
                    self._start((effect.item.job_id, effect.item.attempt))
                case CancelRun():
                    self._end(effect.key, RunCancelled())
                case ForgetSpeech():
                    self.speech.discard(effect.key)
                case EndProcess():
                    self.world.end_agent(self)
                case _:
                    assert_never(effect)
        self._schedule()

    def _schedule(self) -> None:
        """Send what is due, or come back when something is."""
        due_at_ms = self.brain.next_due_ms()
        if not self.is_alive or due_at_ms is None:
            return
        now_ms = self.world.net.now_ms
        if due_at_ms <= now_ms:
            self._send()
        elif not now_ms < self._wakes_at_ms <= due_at_ms:
            self._wakes_at_ms = due_at_ms
            self.world.net.after(due_at_ms - now_ms, lambda: self._awake(self._wake))

    def _wake(self) -> None:
        self._perform(self.brain.tick(self.world.net.now_ms))

    def _send(self) -> None:
        batch = self.brain.take_batch(self.world.net.now_ms)
        if batch is None:
            return
        for message in batch.messages:
            if isinstance(message, RunRefused):
                what = f"{self.node}.{self.incarnation} refused attempt {message.attempt}: {message.why}"
                self.world.note(message.job_id, what)
        spoke = AgentSpoke(batch.node, batch.incarnation, batch.messages)

        def ask(reply: Reply[list[DispatchEffect]]) -> None:
            if not self.is_mute:
                self.world.dispatcher.handle(spoke, reply)

        def answered(_: list[DispatchEffect]) -> None:
            if self.is_deaf:
                self.world.net.after(1_000, lambda: self._awake(failed))
                return
            self.brain.batch_sent(self.world.net.now_ms)
            self._schedule()

        def failed() -> None:
            self.brain.batch_failed(self.world.net.now_ms)
            self._schedule()

        self.world.net.call(ask, lambda answer: self._awake(lambda: answered(answer)), lambda: self._awake(failed))

    # --- its engine

    def _start(self, key: AttemptKey) -> None:
        spec = self.running[key] = self._pushed[key]
        if self._is_model_loaded:
            self._begin(key, spec)
        else:
            self.world.net.after(_LOAD_MS, lambda: self._awake(lambda: self._begin_late(key, spec)))

    def _begin_late(self, key: AttemptKey, spec: JobSpec) -> None:
        """The model that a run has waited for is loaded."""
        self._is_model_loaded = True
        if key in self.running:
            self.brain.handle_loaded(key, self.world.net.now_ms)
            self._begin(key, spec)
            self._schedule()

    def _begin(self, key: AttemptKey, spec: JobSpec) -> None:
        self.world.count_start(key)
        self.world.note(key[0], f"{self.node}.{self.incarnation} runs attempt {key[1]}")
        if spec.name == POISON:
            self.world.net.after(self.world.rng.randint(1, 500), lambda: self._awake(lambda: self._die_of(key)))
        elif not (self.world.is_wild and self.world.rng.random() < 0.05):  # else it hangs until it is stopped
            run_ms = max(1, int(spec.audio_ms * self.world.rng.uniform(0.2, 1.2)))
            self.world.net.after(run_ms, lambda: self._awake(lambda: self._return(key, spec)))

    def _die_of(self, key: AttemptKey) -> None:
        """What a poison job does."""
        if key in self.running:
            self.world.note(key[0], f"{self.node}.{self.incarnation} dies of it")
            self.world.count_killed(key[0])
            self.world.end_agent(self)

    def _return(self, key: AttemptKey, spec: JobSpec) -> None:
        """The engine comes to an end by itself, good or bad."""
        if key not in self.running:
            return
        die = self.world.rng.random()
        if self.world.is_wild and die < 0.08:
            code = Code.ENGINE_CRASHED if die < 0.01 else Code.ENGINE_FAILED
            code = code if die < 0.05 else Code.MODEL_NOT_AVAILABLE
            self._end(key, RunErred(code=code, why="it broke", service=spec.services[-1]))
            return
        if spec.wants_partials:
            self.brain.handle_partial(key, "...", self.world.net.now_ms)
        text = "" if die > 0.9 else f"attempt {key[1]} of {spec.request_id} on {self.node}.{self.incarnation}"
        self.world.note(key[0], f"{self.node}.{self.incarnation} has run attempt {key[1]}")
        if "tts" in spec.services:
            self.speech.add(key)
            self._end(key, RunReturned(text=text, speech_bytes=SPEECH_BYTES, speech_rate_hz=22_050))
        else:
            self._end(key, RunReturned(text=text))

    def _end(self, key: AttemptKey, end: RunEnd) -> None:
        del self.running[key], self._pushed[key]
        self._perform(self.brain.handle_end(key, end, self.world.net.now_ms))

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
        self.speech.clear()
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

    def _beat(self) -> None:
        if not self.is_alive:
            return
        if self.world.is_wild and not self.running and self.world.rng.random() < 0.02:
            self._is_model_loaded = False
        loads_in_ms = 0 if self._is_model_loaded else _LOAD_MS
        is_healthy = not (self.world.is_wild and self.world.rng.random() < 0.05)
        beat = self.brain.heartbeat(Load(), "" if is_healthy else "it is moody", loads_in_ms=loads_in_ms)
        if not self.is_mute:
            self.world.net.post(lambda: self.world.registry.handle_heartbeat(beat, self._handle_registry))
        self.world.net.after(500, lambda: self._awake(self._beat))

    def _handle_registry(self, answer: BeatReply) -> None:
        def arrive() -> None:
            if not self.is_deaf:
                self._perform(self.brain.handle_beat_reply(answer))

        self.world.net.post(lambda: self._awake(arrive))
