"""What clients ask for: jobs are submitted and cancelled, audio and speech go their way, clients come and go.

No message of a client touches a job of another one.
"""

from functools import lru_cache
from typing import assert_never

import msgspec

from ray_sched.core.dispatch import admission, attempts, delivering
from ray_sched.core.dispatch.due import ClientDue, JobDue
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job, JobEvent, JobStatus
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    AudioUnreadable,
    Cancel,
    ClientMessage,
    JobSpec,
    PushFailed,
    Refused,
    SpeechFetched,
    SpeechLost,
    Submit,
)
from ray_sched.core.messages.fields import MAX_WHY
from ray_sched.core.units import counted, shown_ms


def handle(state: DispatchState, step: Step, client_id: str, message: ClientMessage) -> Answer | None:
    """Handle one message of a client. Returns the answer to a Submit or Cancel, None for others."""
    match message:
        case Submit():
            return _submit(state, step, client_id, message.spec)
        case Cancel():
            return _cancel(state, step, client_id, message.job_id)
        case PushFailed():
            _push_failed(state, step, client_id, message)
        case AudioUnreadable():
            _audio_unreadable(state, step, client_id, message)
        case SpeechFetched():
            _speech_fetched(state, step, client_id, message)
        case SpeechLost():
            _speech_lost(state, step, client_id, message)
        case _:
            assert_never(message)
    return None


def _job_of_attempt(
    state: DispatchState,
    client_id: str,
    message: PushFailed | AudioUnreadable | SpeechFetched | SpeechLost,
    status: JobStatus,
) -> Job | None:
    """The job a message is about, if the client owns it and the attempt still counts; else it is counted as late."""
    job = state.jobs.get(message.job_id)
    if job and job.client_id == client_id and job.attempt == message.attempt and job.status is status:
        return job
    state.counters.late_messages += 1
    return None


def _push_failed(state: DispatchState, step: Step, client_id: str, message: PushFailed) -> None:
    job = _job_of_attempt(state, client_id, message, JobStatus.ASSIGNED)
    if job:
        attempts.requeue(state, step, job, Code.PUSH_FAILED, message.why)


def _audio_unreadable(state: DispatchState, step: Step, client_id: str, message: AudioUnreadable) -> None:
    job = _job_of_attempt(state, client_id, message, JobStatus.ASSIGNED)
    if job:
        attempts.stop(state, step, job)
        refusal = Refusal(code=message.refusal.code, message=message.refusal.message[:MAX_WHY])
        attempts.end(state, step, job, JobEvent.FAIL, refusal)


def _speech_fetched(state: DispatchState, step: Step, client_id: str, message: SpeechFetched) -> None:
    job = _job_of_attempt(state, client_id, message, JobStatus.PROCESSING)
    if job and job.speech:
        attempts.drop_speech(step, job)
        attempts.finish(state, step, job, job.speech)


def _speech_lost(state: DispatchState, step: Step, client_id: str, message: SpeechLost) -> None:
    job = _job_of_attempt(state, client_id, message, JobStatus.PROCESSING)
    if job and job.speech:
        attempts.requeue(state, step, job, Code.NODE_LOST, f"speech lost: {message.why}")


def _submit(state: DispatchState, step: Step, client_id: str, spec: JobSpec) -> Answer:
    known = state.index.of_request(client_id, spec.request_id)
    answer = _repeat(state, step, known, spec) if known else _admit_in_turn(state, step, client_id, spec)
    if isinstance(answer, Refused):
        state.counters.rejected[answer.refusal.code] += 1
    return answer


def _repeat(state: DispatchState, step: Step, job: Job, spec: JobSpec) -> Answer:
    """The same request id again: the same job back, and its outcome again if it was delivered; or a new job."""
    if not admission.is_same_content(job, spec):
        return Refused(refusal=admission.other_content(job))
    if admission.is_new_job(job, spec, step.now_ms):
        return _admit(state, step, job.client_id, admission.with_deadline_of(job, spec, step.now_ms), replaced=job)
    state.counters.duplicates += 1
    delivering.notify_again(step, job)
    return Accepted(job_id=job.job_id, is_duplicate=True, utterance_index=job.utterance_index)


def _admit_in_turn(state: DispatchState, step: Step, client_id: str, spec: JobSpec) -> Answer:
    """Take a new job, unless one before it in its session and this batch was refused for want of room.

    The batch may come again, as its answer may get lost, and the one before find room then: behind this one.
    """
    key = (client_id, spec.session)
    has_turn = bool(spec.session) and spec.utterance_index is None
    if has_turn and key in step.full:
        return Refused(refusal=step.full[key])
    answer = _admit(state, step, client_id, spec)
    if has_turn and isinstance(answer, Refused) and answer.refusal.code is Code.OVERLOADED:
        step.full[key] = answer.refusal
    return answer


def _admit(state: DispatchState, step: Step, client_id: str, spec: JobSpec, *, replaced: Job | None = None) -> Answer:
    """Take a new job. ``replaced``: the one that failed before with the same request id, whose place it takes."""
    refusal = _refusal(state, client_id, spec)
    if refusal:
        return Refused(refusal=refusal)
    client_id, spec = _interned(client_id, spec)
    if not spec.session:
        job = state.admit(step, client_id, spec, None)
    else:
        wanted = replaced.utterance_index if replaced else spec.utterance_index
        session = delivering.enter_session(state, step, (client_id, spec.session), wanted, replaced)
        if session is None:
            return Refused(refusal=admission.too_many_sessions(state.rules))
        if spec.first_index is not None:
            delivering.begin_session(state, step, session, spec.first_index)
        if replaced and wanted is not None:
            session.try_again(wanted, replaced.job_id)
            state.await_gap(session)
        index = session.claim(wanted)
        if index is None and replaced and replaced.spec.submission == spec.submission:
            index = session.claim(None)  # its session began anew while its client was gone: what was taken is kept
        if index is None:
            return Refused(refusal=admission.index_taken(spec))
        job = state.admit(step, client_id, spec, index)
        session.begin(index, job.job_id)
    state.counters.submitted += 1
    if replaced:
        if not replaced.is_delivered and replaced.spec.submission != spec.submission:
            delivering.notify_without_place(step, replaced)  # another call than this one waits for it
        replaced.is_delivered = True  # or it would be delivered beside the new one after a restart
        step.save(replaced)
    return Accepted(job_id=job.job_id, utterance_index=job.utterance_index)


def _refusal(state: DispatchState, client_id: str, spec: JobSpec) -> Refusal | None:
    if state.is_draining:
        return Refusal(code=Code.SHUTTING_DOWN, message="the scheduler is shutting down and takes no new jobs")
    backlog = state.waiting.backlog(spec.tenant, (client_id, spec.session))
    return admission.invalid(spec) or admission.overloaded(backlog, spec, state.rules, state.rate.per_s)


def _interned(client_id: str, spec: JobSpec) -> tuple[str, JobSpec]:
    """The same, in strings that are kept once for all jobs that have them in common: 0.4 kB less for each job."""
    client_id, src, tgt, services, session, tenant = _first_of(
        client_id, spec.src, spec.tgt, spec.services, spec.session, spec.tenant
    )
    shared = {"src": src, "tgt": tgt, "services": services, "session": session, "tenant": tenant}
    return client_id, msgspec.structs.replace(spec, **shared)


@lru_cache(4_096)
def _first_of(
    client_id: str, src: str, tgt: str, services: tuple[str, ...], session: str, tenant: str
) -> tuple[str, str, str, tuple[str, ...], str, str]:
    """The first of all equal arguments."""
    return client_id, src, tgt, services, session, tenant


def _cancel(state: DispatchState, step: Step, client_id: str, job_id: str) -> Answer:
    job = state.jobs.get(job_id)
    if not job or job.client_id != client_id:
        return Refused(refusal=Refusal(code=Code.UNKNOWN_JOB, message=f"there is no job {job_id} of this client"))
    _end_cancelled(state, step, job, "cancelled by its submitter")
    return Accepted(job_id=job_id, utterance_index=job.utterance_index)


def cancel_by_operator(state: DispatchState, step: Step, job_id: str) -> None:
    """Cancel anybody's job; its submitter is notified as of any end."""
    if job := state.jobs.get(job_id):
        _end_cancelled(state, step, job, "cancelled by an operator")


def _end_cancelled(state: DispatchState, step: Step, job: Job, why: str) -> None:
    if not job.is_terminal:
        attempts.stop(state, step, job)
        attempts.end(state, step, job, JobEvent.CANCEL, Refusal(code=Code.CANCELLED, message=why))


def withdraw(state: DispatchState, step: Step, client_id: str, request_id: str) -> None:
    """A submit that was answered no after it had been decided: its job, if it has not ended, leaves no trace."""
    job = state.index.of_request(client_id, request_id)
    if job is None or job.is_terminal:
        return
    attempts.stop(state, step, job)
    if job.utterance_index is not None:
        state.sessions.by_key[job.session_key].withdraw(job.utterance_index)
    state.counters.submitted -= 1
    state.counters.rejected[Code.SCHEDULER_DEPENDENCY_DOWN] += 1
    state.forget(step, job)


def client_blocked(state: DispatchState, client_id: str) -> None:
    """A client lives, and does not answer: what it has waiting waits on, and takes no slot from others."""
    if not state.waiting.is_paused(client_id):
        for job in state.waiting.of_client(client_id):
            state.reservations.give_up(job.job_id)
        state.waiting.pause(client_id)


def client_answers(state: DispatchState, step: Step, client_id: str) -> None:
    """A client answers again, if it did not: what waits has the time of a new job, if it has no deadline of its own."""
    for job in state.waiting.resume(client_id):
        if not job.spec.deadline_ms:
            state.postpone(JobDue(job.job_id), step.now_ms + state.rules.pending_timeout_ms)


def client_due(state: DispatchState, step: Step, client_id: str) -> None:
    """A client that has been silent for too long is gone: its waiting jobs end; what runs goes on."""
    gone_at_ms = state.clients[client_id] + state.rules.client_ttl_ms
    if step.now_ms < gone_at_ms:
        state.postpone(ClientDue(client_id), gone_at_ms)
        return
    state.drop_client(step, client_id)
    refusal = Refusal(code=Code.CLIENT_GONE, message="the client that holds the audio has not been heard of")
    state.waiting.resume(client_id)
    jobs = state.waiting.of_client(client_id)
    for job in jobs:
        attempts.end(state, step, job, JobEvent.CANCEL, refusal)
    n_running = state.index.n_on_nodes(client_id)
    if jobs or n_running:  # else it had ended well
        silent = shown_ms(state.rules.client_ttl_ms)
        what = f"{counted(len(jobs), 'waiting job')} cancelled, {n_running} left to run"
        step.log(f"client {client_id} has not been heard of for {silent}: {what}")
