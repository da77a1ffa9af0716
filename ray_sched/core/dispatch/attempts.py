"""Attempts end, jobs end: what is stopped, what is tried again, and when it is enough."""

from typing import Any

from ray_sched.core.dispatch import poison
from ray_sched.core.dispatch.assigning import Assigning
from ray_sched.core.dispatch.delivering import Delivering
from ray_sched.core.dispatch.state import DispatchState, DueKey
from ray_sched.core.effects import (
    OrderAgent,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Fenced, Job, JobEvent, JobStatus
from ray_sched.core.messages.agent_dispatcher import DropSpeech, StopRun
from ray_sched.core.messages.client_dispatcher import AttemptNote, Outcome
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.placement.node_state import NodeState

_REPEAT_STOP_MS = 1_000
_MAX_WHY = 500
"""Characters of a reason that others give: it is kept with the job and told with every failure."""


class Attempts:
    """Ends attempts, and jobs with them or not."""

    def __init__(self, state: DispatchState, assigning: Assigning, delivering: Delivering) -> None:
        self._state = state
        self._assigning = assigning
        self._delivering = delivering

    def release(self, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """The agent says that an attempt holds no slot there any more."""
        node_state = self._state.node_table.by_node.get(node)
        if node_state and node_state.incarnation == incarnation:
            node_state.release(attempt)
            self._state.due.cancel(_stop_key(node, attempt))

    def unfence(self, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """Saved at once: after a restart an attempt that is still fenced takes a slot until it is confirmed."""
        job = self._state.jobs.get(attempt[0])
        if job and job.fenced and (stopped := Fenced(attempt[1], node, incarnation)) in job.fenced:
            self._state.unfence(job, stopped)
            self._state.touched[job.job_id] = job

    def stop_attempt(self, job: Job) -> None:
        """Make sure that the current attempt ends on its node; until the agent confirms, its slot stays taken."""
        if job.status is JobStatus.PENDING:
            return
        if job.speech:
            self._state.order(job, DropSpeech(job_id=job.job_id, attempt=job.attempt))
            return
        node_state = self._state.node_table.by_node.get(job.node)
        if node_state is None:  # not offered yet, or not any more: if it ever is, the attempt is stopped then
            self._state.fence(job)
        elif node_state.incarnation == job.incarnation and node_state.holds((job.job_id, job.attempt)):
            self._state.fence(job)
            self.stop(node_state, (job.job_id, job.attempt))

    def stop(self, node_state: NodeState, attempt: AttemptKey) -> None:
        """Order an agent to stop an attempt, again and again as long as it holds a slot there."""
        self._state.due.set(_stop_key(node_state.node, attempt), self._state.now_ms + _REPEAT_STOP_MS)
        order = StopRun(job_id=attempt[0], attempt=attempt[1])
        self._state.effects.append(OrderAgent(node_state.agent, node_state.incarnation, order))

    def requeue(self, job: Job, code: Code, why: str) -> None:
        """End this attempt; the next one may begin elsewhere, unless there were enough."""
        why = why[:_MAX_WHY]
        self.stop_attempt(job)
        job.attempts += (AttemptNote(attempt=job.attempt, node=job.node, why=f"{code}: {why}"),)
        job.record(self._state.now_ms, f"back to pending: {why}")
        if code is Code.NODE_REFUSED:
            job.refusals += 1
        else:
            job.failovers += 1
        if code is Code.ENGINE_FAILED:
            job.engine_errors += 1
        elif code is Code.ENGINE_CRASHED:
            poison.engine_died(job)
        refusal = self._enough(job, code, why)
        if refusal:
            self.end(job, JobEvent.FAIL, refusal)
            return
        job.move(JobEvent.REQUEUE)
        self._state.take_off_node(job)
        job.excluded_node = job.node
        if code is Code.PUSH_FAILED:
            job.excluded_until_ms = self._state.now_ms + self._state.rules.push_retry_ms
        job.node = job.agent = ""
        job.incarnation = job.assigned_at_ms = job.accepted_at_ms = 0
        job.speech = None
        job.attempt += 1
        job.deadline_at_ms = max(job.deadline_at_ms, self._state.now_ms + self._state.rules.pending_timeout_ms)
        self._state.counters.requeued += 1
        self._assigning.wait(job)

    def _enough(self, job: Job, code: Code, why: str) -> Refusal | None:
        """Why there is no further attempt, or None."""
        if job.client_id not in self._state.clients:
            return Refusal(code=Code.CLIENT_GONE, message=f"{why}; the client that holds the audio is gone")
        told = "; ".join(f"attempt {note.attempt} on {note.node}: {note.why}" for note in job.attempts[-5:])
        if poison.is_poison(job):
            return Refusal(code=Code.POISON_JOB, message=f"agents die of this job, it is not run again: {told}")
        is_over = (
            job.failovers > self._state.rules.max_failovers
            or job.refusals > self._state.rules.max_refusals
            or job.engine_errors > self._state.rules.max_engine_retries
        )
        if not is_over:
            return None
        return Refusal(code=code, message=f"gave up after {len(job.attempts)} attempts: {told}")

    def finish(self, job: Job, outcome: Outcome) -> None:
        """The job ends with a result."""
        event = JobEvent.FINISH if outcome.text else JobEvent.FINISH_EMPTY
        self._close(job, event, outcome)

    def end(self, job: Job, event: JobEvent, refusal: Refusal) -> None:
        """The job ends without a result."""
        status = JobStatus.CANCELLED if event is JobEvent.CANCEL else JobStatus.FAILED
        self._close(job, event, self.outcome(job, status, error=refusal))

    def _close(self, job: Job, event: JobEvent, outcome: Outcome) -> None:
        self._assigning.give_up(job)
        self._state.take_off_node(job)
        job.move(event)
        job.outcome = outcome
        job.speech = None
        job.ended_at_ms = self._state.now_ms
        job.record(self._state.now_ms, f"{job.status}: {outcome.error.message}" if outcome.error else f"{job.status}")
        self._state.due.cancel(("job", job.job_id, ""))
        self._state.ended.add(job.job_id, self._state.now_ms)
        self._state.counters.ended[job.status] = self._state.counters.ended.get(job.status, 0) + 1
        self._state.touched[job.job_id] = job
        self._delivering.deliver(job)

    def outcome(self, job: Job, status: JobStatus, **result: Any) -> Outcome:
        """How the job ends, with its times and attempts."""
        began_at_ms = job.accepted_at_ms or self._state.now_ms
        return Outcome(
            status=str(status),
            node=job.node,
            attempt=job.attempt,
            audio_ms=job.audio_ms,
            wait_ms=began_at_ms - job.created_at_ms,
            attempts=job.attempts,
            **result,
        )

    def forget_stops(self, node_state: NodeState) -> None:
        """Nothing is to be stopped there any more."""
        for attempt in node_state.attempts():
            self._state.due.cancel(_stop_key(node_state.node, attempt))

    def stop_due(self, node: str, what: str) -> None:
        """An agent has not confirmed that it stopped an attempt: tell it again, as long as the node is there."""
        number, _, job_id = what.partition(" ")
        attempt = (job_id, int(number))
        node_state = self._state.node_table.by_node.get(node)
        if node_state and node_state.holds(attempt):
            self.stop(node_state, attempt)


def _stop_key(node: str, attempt: AttemptKey) -> DueKey:
    return ("stop", node, f"{attempt[1]} {attempt[0]}")
