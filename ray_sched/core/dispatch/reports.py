"""What agents report: attempts are accepted, refused, finished and failed.

A message that is not about the current attempt of a job changes no job.
"""

from typing import assert_never

from ray_sched.core.capability import ASR, SERVICES
from ray_sched.core.dispatch import attempts, delivering
from ray_sched.core.dispatch.due import JobDue
from ray_sched.core.dispatch.history import What
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobStatus, is_current
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    DropSpeech,
    RunAccepted,
    RunBegan,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
)
from ray_sched.core.messages.client_dispatcher import PartialText
from ray_sched.core.messages.fields import MAX_AUDIO_MS
from ray_sched.core.rules import run_limit_ms
from ray_sched.core.units import shown_ms

_CODES_OF_ENGINES = frozenset({Code.ENGINE_FAILED, Code.ENGINE_CRASHED, Code.MODEL_NOT_AVAILABLE, Code.INVALID_AUDIO})
"""Codes that an agent may report of a run; any other one counts as a failure of its engine."""


def handle(state: DispatchState, step: Step, node: str, incarnation: int, message: AgentMessage) -> None:
    """Handle one message of this incarnation of a node's agent."""
    job = state.jobs.get(message.job_id)
    attempt = (message.job_id, message.attempt)
    is_over = not isinstance(message, RunAccepted | RunBegan | RunPartial)
    if is_over:
        state.release(node, incarnation, attempt)
    if job is not None and is_current(job, message.attempt, node, incarnation):
        _handle_current(state, step, job, message)
    else:
        _handle_late(state, step, node, incarnation, message)
    if is_over:
        state.unfence(step, node, incarnation, attempt)


def _handle_current(state: DispatchState, step: Step, job: Job, message: AgentMessage) -> None:
    match message:
        case RunAccepted():
            _run_accepted(state, step, job, message)
        case RunBegan():
            _run_began(state, step, job, message)
        case RunRefused():
            _run_refused(state, step, job, message)
        case RunPartial():
            if job.spec.wants_partials:
                step.notify(job.client_id, PartialText(job_id=job.job_id, attempt=job.attempt, text=message.text))
        case RunFinished():
            _run_finished(state, step, job, message)
        case RunFailed():
            _run_failed(state, step, job, message)
        case RunStopped():
            attempts.requeue(state, step, job, Code.NODE_LOST, "the node no longer has it")
        case _:
            assert_never(message)


def _handle_late(state: DispatchState, step: Step, node: str, incarnation: int, message: AgentMessage) -> None:
    """A message of a fenced attempt changes no job; what still runs or waits there is ordered to stop."""
    state.counters.late_messages += 1
    node_state = state.node_table.by_node.get(node)
    if node_state is None or node_state.incarnation != incarnation:
        return
    if isinstance(message, RunAccepted):
        state.stop(step, node_state, (message.job_id, message.attempt))
    elif isinstance(message, RunFinished) and message.speech_bytes and not _awaits_speech(state, message):
        step.order(node_state.agent, incarnation, DropSpeech(job_id=message.job_id, attempt=message.attempt))


def _awaits_speech(state: DispatchState, message: RunFinished) -> bool:
    job = state.jobs.get(message.job_id)
    return job is not None and job.attempt == message.attempt and job.speech is not None


def _run_accepted(state: DispatchState, step: Step, job: Job, message: RunAccepted) -> None:
    if job.status is not JobStatus.ASSIGNED:
        return
    audio_ms = min(message.audio_ms, MAX_AUDIO_MS)
    state.accept(step, job, step.now_ms - message.age_ms, audio_ms, message.audio_bytes)
    state.counters.times.push.observe(job.accepted_at_ms - job.assigned_at_ms)
    if message.loads_within_ms:
        step.record(job, What.LOADING, f"waits while {job.node} loads its model", job.accepted_at_ms)
        _time_run(state, step, job, message.loads_within_ms)


def _run_began(state: DispatchState, step: Step, job: Job, message: RunBegan) -> None:
    if job.status is JobStatus.PROCESSING and not job.speech:
        step.record(job, What.LOADED, f"its model was loaded in {shown_ms(message.loaded_ms)}")
        _time_run(state, step, job)


def _time_run(state: DispatchState, step: Step, job: Job, loads_within_ms: int = 0) -> None:
    """Its time to run begins now, or when its model is loaded, within so long."""
    limit_ms = run_limit_ms(job.audio_ms, state.rules)
    state.postpone(JobDue(job.job_id), step.now_ms + loads_within_ms + limit_ms)


def _run_refused(state: DispatchState, step: Step, job: Job, message: RunRefused) -> None:
    if job.speech:  # pushed once more by a client that was notified twice; it has run
        return
    state.counters.refused += 1
    node_state = state.node_table.by_node.get(job.node)
    if node_state:
        node_state.back_off_after_refusal(step.now_ms, state.selection)
    attempts.requeue(state, step, job, Code.NODE_REFUSED, message.why)


def _run_finished(state: DispatchState, step: Step, job: Job, message: RunFinished) -> None:
    if job.speech:
        return
    if job.status is JobStatus.ASSIGNED:  # its acceptance never arrived: its audio is as long as declared
        state.accept(step, job, step.now_ms, job.audio_ms, job.audio_bytes)
        state.counters.times.push.observe(max(step.now_ms - job.assigned_at_ms - message.run_ms, 0))
    attempts.note_run(state, step, job, is_success=True)
    if ASR in job.spec.services:  # else its audio says nothing of the work
        state.speeds.learn(job.node, job.demand.pair, job.audio_ms, message.run_ms)
    _count_run(state, job, message.run_ms)
    outcome = attempts.outcome_of(
        step,
        job,
        JobStatus.COMPLETED if message.text else JobStatus.COMPLETED_NO_TEXT,
        text=message.text,
        translation=message.translation,
        speech_bytes=message.speech_bytes,
        speech_rate_hz=message.speech_rate_hz,
        run_ms=message.run_ms,
        recognition=message.recognition,
    )
    if message.speech_bytes:
        step.record(job, What.RAN, f"ran {shown_ms(message.run_ms)} on {job.node}; speech waits to be fetched")
        state.keep_speech(step, job, outcome)
        delivering.notify_speech_ready(step, job)
    else:
        step.record(job, What.RAN, f"ran {shown_ms(message.run_ms)} on {job.node}")
        attempts.finish(state, step, job, outcome)


def _count_run(state: DispatchState, job: Job, run_ms: int) -> None:
    node_state = state.node_table.by_node.get(job.node)
    engine = node_state.capability.engine if node_state else ""
    state.counters.times.run.observe(run_ms)
    if ASR not in job.spec.services:
        return
    state.counters.audio_ms[engine] += job.audio_ms
    state.counters.run_ms[engine] += run_ms


def _run_failed(state: DispatchState, step: Step, job: Job, message: RunFailed) -> None:
    code = message.code if message.code in _CODES_OF_ENGINES else Code.ENGINE_FAILED
    if code is Code.MODEL_NOT_AVAILABLE:
        node_state = state.node_table.by_node.get(job.node)
        if node_state and message.service in SERVICES:
            node_state.unavailable_until_ms[message.service] = step.now_ms + state.selection.unavailable_ms
        step.log(f"{job.node}: no model for {message.service}: {message.why[:200]}", job.node)
    elif message.was_alone:  # else one death would count against the node as often as jobs were in that pass
        attempts.note_run(state, step, job, is_success=False)
    attempts.requeue(state, step, job, code, message.why, was_alone=message.was_alone)
