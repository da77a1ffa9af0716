"""What happens when time is up: jobs that wait, are pushed or run for too long; gaps, clients and sessions."""

from typing import assert_never

from ray_sched.core.capability import Demand
from ray_sched.core.dispatch import assigning, attempts, delivering, requests
from ray_sched.core.dispatch.assigning import WhyNot
from ray_sched.core.dispatch.due import ClientDue, Due, GapDue, JobDue, SessionDue, StopDue
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job, JobEvent, JobStatus
from ray_sched.core.reasons import Tier
from ray_sched.core.units import shown_ms

FoundOut = dict[tuple[Demand, str, bool], WhyNot]
"""Why there is no node, found out once in a sweep for all jobs with this demand, excluded node and exclusiveness."""


def sweep(state: DispatchState, step: Step) -> None:
    """Do what is due now, end the leases whose term is over, and measure how fast jobs end."""
    found_out: FoundOut = {}
    for due in state.pop_due(step):
        _handle(state, step, due, found_out)
    for node_state in state.node_table.by_node.values():
        node_state.expire(step.now_ms)
    state.rate.measure(sum(state.counters.ended.values()), step.now_ms)


def _handle(state: DispatchState, step: Step, due: Due, found_out: FoundOut) -> None:
    match due:
        case JobDue():
            job = state.jobs[due.job_id]
            if not job.is_terminal:  # it may have ended in this very sweep, with its client
                _job_due(state, step, job, found_out)
        case GapDue():
            delivering.gap_due(state, step, due.session)
        case SessionDue():
            delivering.session_due(state, step, due.session)
        case ClientDue():
            requests.client_due(state, step, due.client_id)
        case StopDue():
            node_state = state.node_table.by_node.get(due.node)
            if node_state and node_state.holds(due.attempt):
                state.stop(step, node_state, due.attempt)
        case _:
            assert_never(due)


def _job_due(state: DispatchState, step: Step, job: Job, found_out: FoundOut) -> None:
    is_held_up = state.is_store_away or state.waiting.is_paused(job.client_id)
    if state.is_store_away and job.status is JobStatus.ASSIGNED:
        state.await_push(step, job)  # its submitter may not have been notified
    elif is_held_up and job.status is JobStatus.PENDING and not job.spec.deadline_ms:
        state.postpone(JobDue(job.job_id), step.now_ms + state.rules.pending_timeout_ms)
    elif job.status is JobStatus.PENDING:
        attempts.end(state, step, job, JobEvent.FAIL, _no_node(state, step, job, found_out))
    elif job.status is JobStatus.ASSIGNED and (due_at_ms := state.pushes.due_at_ms(job.job_id)) > step.now_ms:
        state.postpone(JobDue(job.job_id), due_at_ms)  # more audio has come to travel with it
    elif job.status is JobStatus.ASSIGNED:
        waited_ms = step.now_ms - job.assigned_at_ms
        attempts.requeue(state, step, job, Code.PUSH_TIMEOUT, f"the audio was not accepted in {shown_ms(waited_ms)}")
    elif job.speech:  # the node has done its part, and would do no more in another attempt
        attempts.drop_speech(step, job)
        message = f"its speech was not fetched in {shown_ms(step.now_ms - job.accepted_at_ms)}"
        attempts.end(state, step, job, JobEvent.FAIL, Refusal(code=Code.JOB_TIMEOUT, message=message))
    else:
        ran_ms = step.now_ms - job.accepted_at_ms
        attempts.note_run(state, step, job, is_success=False)
        attempts.requeue(state, step, job, Code.JOB_TIMEOUT, f"not finished {shown_ms(ran_ms)} after acceptance")


def _no_node(state: DispatchState, step: Step, job: Job, found_out: FoundOut) -> Refusal:
    """The answer to a job that found no node in time, with the reason of each node."""
    waited_ms = step.now_ms - job.created_at_ms
    if state.waiting.is_paused(job.client_id):
        message = f"its client has not answered, as its event loop was blocked, until {shown_ms(waited_ms)} had passed"
        state.counters.no_node[Tier.CLIENT_BLOCKED] += 1
        return Refusal(code=Code.DEADLINE_EXCEEDED, message=message)
    key = (job.demand, job.excluded_node, job.is_exclusive)
    if key not in found_out:
        found_out[key] = assigning.why_no_node(state, step, job)
    why_not = found_out[key]
    state.counters.no_node[why_not.main] += 1
    is_served = state.node_table.groups.is_served(job.demand)
    code = Code.DEADLINE_EXCEEDED if is_served and job.spec.deadline_ms else Code.NO_AVAILABLE_NODE
    services = "+".join(job.spec.services)
    return Refusal(
        code=code, message=f"no node for {job.demand.pair} ({services}) in {shown_ms(waited_ms)}: {why_not.text}"
    )
