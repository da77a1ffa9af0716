"""Attempts end, jobs end: what is stopped, what is tried again, and when it is enough."""

from typing import Any

from ray_sched.core.dispatch import delivering, poison
from ray_sched.core.dispatch.history import What
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job, JobEvent, JobStatus
from ray_sched.core.messages.agent_dispatcher import DropSpeech
from ray_sched.core.messages.client_dispatcher import AttemptNote, Outcome
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.units import shown_ms

_MAX_WHY = 500
"""Characters of a reason that others give: it is kept with the job and is part of every failure's message."""
_NOTES_SHOWN = 5
"""How many of the last attempts the message of a failure names."""


def stop(state: DispatchState, step: Step, job: Job) -> None:
    """Make sure that the current attempt ends on its node; until the agent confirms, its slot stays acquired."""
    if job.status is JobStatus.PENDING:
        return
    if job.speech:
        drop_speech(step, job)
        return
    attempt = (job.job_id, job.attempt)
    node_state = state.node_table.by_node.get(job.node)
    if node_state is None:  # not offered yet, or not any more: if it ever is, the attempt is stopped then
        state.fence(step, job)
    elif node_state.incarnation == job.incarnation and node_state.holds(attempt):
        state.fence(step, job)
        state.stop(step, node_state, attempt)


def drop_speech(step: Step, job: Job) -> None:
    """Order the agent that has the speech of a job to forget it."""
    step.order(job.agent, job.incarnation, DropSpeech(job_id=job.job_id, attempt=job.attempt))


def requeue(state: DispatchState, step: Step, job: Job, code: Code, why: str, *, was_alone: bool = True) -> None:
    """End this attempt; the next one may begin elsewhere, unless there were enough.

    ``was_alone``: the engine that crashed ran nothing else.
    """
    why = why[:_MAX_WHY]
    stop(state, step, job)
    job.attempts += (AttemptNote(attempt=job.attempt, node=job.node, why=f"{code}: {why}"),)
    step.record(job, What.REQUEUED, f"back to pending: {why}")
    if not (code is Code.PUSH_TIMEOUT and state.waiting.is_paused(job.client_id)):  # no fault of a node
        _count(job, code, was_alone=was_alone)
    refusal = _enough(state, step, job, code, why)
    if refusal:
        end(state, step, job, JobEvent.FAIL, refusal)
        return
    if code is Code.PUSH_FAILED:
        job.excluded_until_ms = step.now_ms + state.rules.push_retry_ms
    state.counters.failovers[code] += 1
    state.requeue(step, job)


def _count(job: Job, code: Code, *, was_alone: bool) -> None:
    """A refusal costs no failover; an error or a crash of the engine is counted a second time, by itself."""
    if code is Code.NODE_REFUSED:
        job.refusals += 1
    else:
        job.failovers += 1
    if code is Code.ENGINE_FAILED:
        job.engine_errors += 1
    elif code is Code.ENGINE_CRASHED:
        poison.engine_died(job, was_alone=was_alone)


def _enough(state: DispatchState, step: Step, job: Job, code: Code, why: str) -> Refusal | None:
    """Why there is no further attempt, or None."""
    if job.client_id not in state.clients:
        return Refusal(code=Code.CLIENT_GONE, message=f"{why}; the client that holds the audio is gone")
    earlier = "; ".join(f"attempt {note.attempt} on {note.node}: {note.why}" for note in job.attempts[-_NOTES_SHOWN:])
    if poison.is_poison(job):
        return Refusal(code=Code.POISON_JOB, message=f"agents die of this job, it is not run again: {earlier}")
    is_over = (
        job.failovers > state.rules.max_failovers
        or job.refusals > state.rules.max_refusals
        or job.engine_errors > state.rules.max_engine_retries
    )
    if is_over:
        return Refusal(code=code, message=f"gave up after {len(job.attempts)} attempts: {earlier}")
    if job.spec.deadline_ms and step.now_ms >= job.deadline_at_ms:
        message = f"its deadline had passed when an attempt ended: {earlier}"
        return Refusal(code=Code.DEADLINE_EXCEEDED, message=message)
    return None


def finish(state: DispatchState, step: Step, job: Job, outcome: Outcome) -> None:
    """End the job with a result, and deliver it."""
    state.end(step, job, JobEvent.FINISH if outcome.text else JobEvent.FINISH_EMPTY, outcome)
    delivering.deliver(state, step, job)


def end(state: DispatchState, step: Step, job: Job, event: JobEvent, refusal: Refusal) -> None:
    """End the job without a result, and deliver why. ``event``: FAIL or CANCEL."""
    status = JobStatus.CANCELLED if event is JobEvent.CANCEL else JobStatus.FAILED
    state.counters.failed[refusal.code] += 1
    state.end(step, job, event, outcome_of(step, job, status, error=refusal))
    delivering.deliver(state, step, job)


def outcome_of(step: Step, job: Job, status: JobStatus, **result: Any) -> Outcome:
    """How the job ends, with its times and attempts; ``result``: the fields of the outcome that an agent reports."""
    began_at_ms = job.accepted_at_ms or step.now_ms
    return Outcome(
        status=str(status),
        node=job.node,
        attempt=job.attempt,
        audio_ms=job.audio_ms,
        wait_ms=began_at_ms - job.created_at_ms,
        attempts=job.attempts,
        **result,
    )


def note_run(state: DispatchState, step: Step, job: Job, *, is_success: bool) -> None:
    """Note how a run ended on the job's node; one that fails too often is not used for a while.

    A failure does not count while all other nodes that could do the job are in quarantine: then it is more likely the
    jobs that are bad, and a few of them would keep everybody else waiting.
    """
    node_state, rules = state.node_table.by_node.get(job.node), state.selection
    if node_state is None or not (is_success or _is_node_to_blame(state, step, job, node_state)):
        return
    if node_state.record_outcome(is_success=is_success, now_ms=step.now_ms, rules=rules):
        step.log(f"{job.node} failed too often and rests for {shown_ms(rules.quarantine_ms)}", job.node)


def _is_node_to_blame(state: DispatchState, step: Step, job: Job, node_state: NodeState) -> bool:
    candidates = state.node_table.groups.candidates(job.demand)
    others = (other for other in candidates.nodes() if other is not node_state)
    return not candidates.has_others(job.node) or any(other.quarantined_until_ms <= step.now_ms for other in others)
