"""The agent's brain: which attempts run on its node, which pushes are refused, and what the Dispatcher has to know.

The last guard against overselling: whatever anyone else believes, an agent never runs more than its slots, never
starts an attempt twice, and never starts one that it was ordered to stop. It knows the sizes of audio only, and decides
nothing about jobs. Times are milliseconds of any clock that only goes forward.
"""

from typing import assert_never

from ray_sched.core.agent.attempts import Attempts
from ray_sched.core.agent.checks import PushChecks
from ray_sched.core.agent.effects import (
    AgentEffect,
    CancelRun,
    EndProcess,
    ForgetSpeech,
    RunCancelled,
    RunEnd,
    RunReturned,
    StartRun,
)
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.agent.reports import ReportQueue, end_report
from ray_sched.core.capability import BadCapabilityError, Capability, offered
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.agent_dispatcher import (
    AgentBatch,
    AgentOrders,
    DropSpeech,
    RunAccepted,
    RunBegan,
    RunPartial,
    RunRefused,
    RunStopped,
    StopRun,
)
from ray_sched.core.messages.agent_registry import BeatReply, GpuUse, Heartbeat, Load
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Push, PushItem
from ray_sched.core.messages.fields import AttemptKey

LAZY_MS = 20
"""How long an acceptance waits for another report to leave with."""
COALESCE_MS = 1
"""How long the end of one run waits for the end of others that run beside it: jobs that came together end together."""


class AgentBrain:
    """What one incarnation of an agent knows and decides."""

    def __init__(self, options: AgentOptions, checks: PushChecks) -> None:
        self.options = options
        self.is_draining = False
        self.is_loaded = False
        self.refused_because_full = 0
        """Pushes for which there was no slot: more than 0 means that somebody sold one twice."""
        self._checks = checks
        self._capability: Capability | None = None
        self._why_failed = ""
        self._attempts = Attempts()
        self._reports = ReportQueue()

    # --- the engine

    def engine_loaded(self, capability: Capability) -> None:
        """The engine can run jobs, and this is what it really can do; the node may offer less of it."""
        try:
            self._capability = offered(capability, self.options.offer)
        except BadCapabilityError as error:
            self.engine_failed(str(error))
        else:
            self.is_loaded = True

    def engine_failed(self, why: str) -> None:
        """The engine cannot be loaded; every heartbeat reports why from now on."""
        self._why_failed = why

    def handle_stuck_engine(self, why: str) -> list[AgentEffect]:
        """A run cannot be stopped, as it is in a thread of this process: a new process replaces it.

        Not while other attempts run: the node is unhealthy, so that they are the last ones.
        """
        is_over = all(run.is_stopping for run in self._attempts.running.values())
        return [EndProcess(why)] if is_over else []

    # --- pushes

    def handle_push(self, push: Push, now_ms: int) -> list[AgentEffect]:
        """Accept each item and start it, or refuse it, and report which to the Dispatcher.

        An attempt that runs here already is accepted again, since its first acceptance may have got lost. Items meant
        for another incarnation, or without a token, are ignored: whoever pushes them neither stops nor fences anything.
        """
        effects: list[AgentEffect] = []
        if push.incarnation != self.options.incarnation:
            return effects
        for position, item in enumerate(push.items):
            if self._checks.has_token(item):
                self._handle_item(position, item, now_ms, effects)
        return effects

    def _handle_item(self, position: int, item: PushItem, now_ms: int, effects: list[AgentEffect]) -> None:
        key = (item.job_id, item.attempt)
        if key not in self._attempts.running:
            why = self._why_refused(item)
            if why:
                self._refuse(item, why, now_ms)
                return
            self._attempts.start(key, item.n_bytes, now_ms)
            effects.append(StartRun(position, item))
        self._report_acceptance(item, now_ms)

    def _why_refused(self, item: PushItem) -> str | None:
        if not self.is_loaded:
            return "the engine is still loading"
        if not item.n_bytes or item.n_bytes % BYTES_PER_SAMPLE:
            return "the push does not hold whole samples of audio"
        if self._attempts.is_fenced((item.job_id, item.attempt)):
            return "this attempt was pushed or stopped here before"
        if len(self._attempts.running) >= self.options.slots:
            self.refused_because_full += 1
            return f"all {self.options.slots} slots are taken"
        if self.is_draining:
            return "the node is draining"
        return self._checks.admit(item)

    def _refuse(self, item: PushItem, why: str, now_ms: int) -> None:
        """Report that nothing of this attempt is here: that stays true, however often it is pushed."""
        self._attempts.fence((item.job_id, item.attempt))
        self._reports.put(RunRefused(job_id=item.job_id, attempt=item.attempt, why=why), now_ms)

    def _report_acceptance(self, item: PushItem, now_ms: int) -> None:
        audio_ms = item.n_bytes * 1000 // (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
        message = RunAccepted(
            job_id=item.job_id,
            attempt=item.attempt,
            audio_ms=audio_ms,
            audio_bytes=item.n_bytes,
            loads_within_ms=self._checks.loads_within_ms(),
        )
        since_ms = self._attempts.running[item.job_id, item.attempt].started_at_ms
        self._reports.put(message, now_ms, within_ms=LAZY_MS, since_ms=since_ms)

    # --- runs

    def handle_loaded(self, key: AttemptKey, now_ms: int) -> None:
        """The model that this run has waited for is loaded: its time begins now, and the Dispatcher knows."""
        run = self._attempts.running.get(key)
        if run is not None and not run.is_stopping:
            loaded_ms, run.started_at_ms = now_ms - run.started_at_ms, now_ms
            self._reports.put(RunBegan(job_id=key[0], attempt=key[1], loaded_ms=loaded_ms), now_ms, within_ms=LAZY_MS)

    def handle_partial(self, key: AttemptKey, text: str, now_ms: int) -> None:
        """The engine has recognised some of the text. Nothing happens once the run has ended."""
        if key in self._attempts.running:
            self._reports.put_partial(RunPartial(job_id=key[0], attempt=key[1], text=text), now_ms)

    def handle_end(self, key: AttemptKey, end: RunEnd, now_ms: int) -> list[AgentEffect]:
        """A run has ended: its slot is free and its audio is dropped. Raises KeyError for an attempt that does not run.

        After an order to stop it is reported as stopped, whatever the engine brought.
        """
        effects: list[AgentEffect] = []
        if self._attempts.running[key].is_stopping and not isinstance(end, RunCancelled):
            end = RunCancelled()
            effects.append(ForgetSpeech(key))
        if isinstance(end, RunReturned) and end.speech_bytes:
            run = self._attempts.end_with_speech(key, end.speech_bytes, now_ms + self.options.speech_ttl_ms)
        else:
            run = self._attempts.end(key)
        message = end_report(key, end, max(0, now_ms - run.started_at_ms))
        self._reports.put(message, now_ms, within_ms=COALESCE_MS if self._attempts.running else 0)
        return effects

    # --- orders

    def handle_orders(self, orders: AgentOrders, now_ms: int) -> list[AgentEffect]:
        """Carry out the Dispatcher's orders, unless another incarnation is meant.

        A stop is always answered by RunStopped: at once, or when the engine has stopped; and the attempt is never
        started afterwards.
        """
        effects: list[AgentEffect] = []
        if orders.incarnation != self.options.incarnation:
            return effects
        for order in orders.orders:
            key = (order.job_id, order.attempt)
            self._forget_speech(key, effects)
            match order:
                case StopRun():
                    self._stop(key, now_ms, effects)
                case DropSpeech():
                    pass
                case _:
                    assert_never(order)
        return effects

    def _stop(self, key: AttemptKey, now_ms: int, effects: list[AgentEffect]) -> None:
        self._attempts.fence(key)
        run = self._attempts.running.get(key)
        if run is None:
            self._reports.put(RunStopped(job_id=key[0], attempt=key[1]), now_ms)
        else:
            run.is_stopping = True
            effects.append(CancelRun(key))

    def _forget_speech(self, key: AttemptKey, effects: list[AgentEffect]) -> None:
        if self._attempts.forget_speech(key):
            effects.append(ForgetSpeech(key))

    # --- reports and time

    def next_due_ms(self) -> int | None:
        """When to call :meth:`tick` and :meth:`take_batch`, if nothing else happens before; None for never."""
        report_ms, speech_ms = self._reports.due_at_ms, self._attempts.speech_due_ms()
        if report_ms is None or speech_ms is None:
            return speech_ms if report_ms is None else report_ms
        return min(report_ms, speech_ms)

    def tick(self, now_ms: int) -> list[AgentEffect]:
        """Time has passed: speech that nobody came for is dropped."""
        effects: list[AgentEffect] = []
        while (key := self._attempts.overdue_speech(now_ms)) is not None:
            self._forget_speech(key, effects)
        return effects

    def take_batch(self, now_ms: int) -> AgentBatch | None:
        """The reports to send now, or None. Call :meth:`batch_sent` or :meth:`batch_failed` before the next one."""
        messages = self._reports.take(now_ms)
        if not messages:
            return None
        options = self.options
        return AgentBatch(node=options.node, incarnation=options.incarnation, key=options.key, messages=messages)

    def batch_sent(self, now_ms: int) -> None:
        """The Dispatcher has answered: the batch is done with."""
        self._reports.acknowledge(now_ms)

    def batch_failed(self, now_ms: int) -> None:
        """No answer came. The batch is sent again in a moment, since it may or may not have arrived."""
        self._reports.fail(now_ms)

    # --- heartbeats

    def heartbeat(
        self, load: Load, why_unhealthy: str, gpus: tuple[GpuUse, ...] = (), progress: str = "", loads_in_ms: int = 0
    ) -> Heartbeat:
        """The next heartbeat. ``why_unhealthy``: what is wrong with the loaded engine, or nothing.

        ``progress``: how far loading is, if that is known. ``loads_in_ms``: until a model that was unloaded is there.
        """
        why = self._why_failed or (why_unhealthy if self.is_loaded else "")
        not_yet = "" if self.is_loaded else "loading its engine"
        return Heartbeat(
            node=self.options.node,
            incarnation=self.options.incarnation,
            key=self.options.key,
            is_loaded=self.is_loaded,
            is_healthy=not why,
            why=why or progress or not_yet,
            capability=self._capability,
            pid=self.options.pid,
            load=load,
            loads_in_ms=loads_in_ms,
            gpus=gpus,
            running=len(self._attempts.running),
            most_running=self._attempts.most_running,
            accepted=self._attempts.started,
            audio_bytes=self._attempts.ledger.bytes_in(AudioState.RUNNING),
            speech_bytes=self._attempts.ledger.bytes_in(AudioState.SPOKEN),
        )

    def handle_beat_reply(self, reply: BeatReply) -> list[AgentEffect]:
        """The Registry's answer: whether the node is draining, and whether this incarnation is current."""
        self.is_draining = reply.is_draining
        return [] if reply.is_current else [EndProcess("another incarnation has taken over")]

    # --- views

    @property
    def ledger(self) -> Ledger[AttemptKey]:
        """Bytes of audio of the attempts that run, and of speech that waits. To be read only."""
        return self._attempts.ledger

    @property
    def running(self) -> list[AttemptKey]:
        """Attempts that hold a slot."""
        return list(self._attempts.running)

    @property
    def unsent_reports(self) -> int:
        """Reports that were not acknowledged yet."""
        return len(self._reports)
