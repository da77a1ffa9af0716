"""What agents report: attempts are accepted, refused, finished and failed."""

from typing import assert_never

from ray_sched.core.capability import SERVICES
from ray_sched.core.dispatch.attempts import Attempts
from ray_sched.core.dispatch.client_events import speech_ready
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.effects import (
    Log,
    OrderAgent,
)
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobEvent, JobStatus, is_current
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    DropSpeech,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
)
from ray_sched.core.messages.client_dispatcher import PartialText
from ray_sched.core.messages.fields import MAX_AUDIO_MS
from ray_sched.core.queue.waiting import cost_ms

_CODES_OF_ENGINES = frozenset({Code.ENGINE_FAILED, Code.ENGINE_CRASHED, Code.MODEL_NOT_AVAILABLE, Code.INVALID_AUDIO})
"""What an agent may say of a run; anything else is not its business and counts as a failure of its engine."""


class Reports:
    """Hears agents. A message that is not about the current attempt of a job changes no job."""

    def __init__(self, state: DispatchState, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def handle_agent(self, node: str, incarnation: int, message: AgentMessage) -> None:
        """One message of an agent."""
        job = self._state.jobs.get(message.job_id)
        is_over = not isinstance(message, RunAccepted | RunPartial)
        if is_over:
            self._attempts.release(node, incarnation, (message.job_id, message.attempt))
        if job is not None and is_current(job, message.attempt, node, incarnation):
            self._handle_current(job, message)
        else:
            self._handle_late(node, incarnation, message)
        if is_over:
            self._attempts.unfence(node, incarnation, (message.job_id, message.attempt))

    def _handle_current(self, job: Job, message: AgentMessage) -> None:
        match message:
            case RunAccepted():
                self._run_accepted(job, message)
            case RunRefused():
                self._run_refused(job, message)
            case RunPartial():
                if job.spec.wants_partials:
                    self._state.notify(job, PartialText(job_id=job.job_id, attempt=job.attempt, text=message.text))
            case RunFinished():
                self._run_finished(job, message)
            case RunFailed():
                self._run_failed(job, message)
            case RunStopped():
                self._attempts.requeue(job, Code.NODE_LOST, "the node no longer has it")
            case _:
                assert_never(message)

    def _handle_late(self, node: str, incarnation: int, message: AgentMessage) -> None:
        """A message of a fenced attempt changes no job; what still runs or waits there is told to stop."""
        self._state.counters.late_messages += 1
        node_state = self._state.node_table.by_node.get(node)
        if node_state is None or node_state.incarnation != incarnation:
            return
        if isinstance(message, RunAccepted):
            self._attempts.stop(node_state, (message.job_id, message.attempt))
        elif isinstance(message, RunFinished) and message.speech_bytes and not self._awaits_speech(message):
            order = DropSpeech(job_id=message.job_id, attempt=message.attempt)
            self._state.effects.append(OrderAgent(node_state.agent, incarnation, order))

    def _awaits_speech(self, message: RunFinished) -> bool:
        job = self._state.jobs.get(message.job_id)
        return job is not None and job.attempt == message.attempt and job.speech is not None

    def _run_accepted(self, job: Job, message: RunAccepted) -> None:
        """The node has the audio. Not saved by itself: the record says where the attempt is, its agent what it does."""
        if job.status is not JobStatus.ASSIGNED:
            return
        job.move(JobEvent.ACCEPT)
        job.accepted_at_ms = max(self._state.now_ms - message.age_ms, job.assigned_at_ms)
        audio_ms = min(message.audio_ms, MAX_AUDIO_MS)
        more_ms = audio_ms - cost_ms(job)
        if more_ms > 0:
            self._state.waiting.shares.charge(job.spec.tenant, job.session_key, more_ms, is_served=False)
        job.audio_ms, job.audio_bytes = audio_ms, message.audio_bytes
        job.record(job.accepted_at_ms, f"accepted by {job.node}")
        node_state = self._state.node_table.by_node.get(job.node)
        if node_state:
            node_state.record_acceptance()
        limit_ms = max(self._state.rules.run_timeout_ms, int(self._state.rules.run_timeout_factor * job.audio_ms))
        self._state.due.set(("job", job.job_id, ""), self._state.now_ms + limit_ms)

    def _run_refused(self, job: Job, message: RunRefused) -> None:
        if job.speech:  # pushed once more by a client that was told twice; it has run
            return
        self._state.counters.refused += 1
        node_state = self._state.node_table.by_node.get(job.node)
        if node_state:
            node_state.back_off_after_refusal(self._state.now_ms, self._state.selection)
        self._attempts.requeue(job, Code.NODE_REFUSED, message.why)

    def _run_finished(self, job: Job, message: RunFinished) -> None:
        if job.speech:
            return
        if job.status is JobStatus.ASSIGNED:
            self._run_accepted(
                job,
                RunAccepted(job_id=job.job_id, attempt=job.attempt, audio_ms=job.audio_ms, audio_bytes=job.audio_bytes),
            )
        self.remember(job.node, is_success=True)
        self._state.speeds.learn(job.node, job.demand.pair, job.audio_ms, message.run_ms)
        outcome = self._attempts.outcome(
            job,
            JobStatus.COMPLETED if message.text else JobStatus.COMPLETED_NO_TEXT,
            text=message.text,
            translation=message.translation,
            speech_bytes=message.speech_bytes,
            speech_rate_hz=message.speech_rate_hz,
            run_ms=message.run_ms,
        )
        if message.speech_bytes:
            job.speech = outcome
            job.record(self._state.now_ms, f"ran {message.run_ms} ms on {job.node}; speech waits to be fetched")
            self._state.touched[job.job_id] = job
            self._state.notify(job, speech_ready(job, outcome))
        else:
            job.record(self._state.now_ms, f"ran {message.run_ms} ms on {job.node}")
            self._attempts.finish(job, outcome)

    def _run_failed(self, job: Job, message: RunFailed) -> None:
        code = message.code if message.code in _CODES_OF_ENGINES else Code.ENGINE_FAILED
        if code is Code.MODEL_NOT_AVAILABLE:
            node_state = self._state.node_table.by_node.get(job.node)
            if node_state and message.service in SERVICES:
                until_ms = self._state.now_ms + self._state.selection.unavailable_ms
                node_state.unavailable_until_ms[message.service] = until_ms
            self._state.effects.append(Log(f"{job.node}: no model for {message.service}: {message.why[:200]}"))
        else:
            self.remember(job.node, is_success=False)
        self._attempts.requeue(job, code, message.why)

    def remember(self, node: str, *, is_success: bool) -> None:
        """Note how an attempt ended on a node."""
        node_state, rules = self._state.node_table.by_node.get(node), self._state.selection
        if node_state and node_state.record_outcome(is_success=is_success, now_ms=self._state.now_ms, rules=rules):
            self._state.effects.append(Log(f"{node} failed too often and rests for {rules.quarantine_ms} ms"))
