"""Delivering: what a submitter is notified of, and when: outcomes at once, or in the order of their session."""

from collections.abc import Iterable

import msgspec

from ray_sched.core.delivery.order import Deliver
from ray_sched.core.delivery.sessions import Release, Session
from ray_sched.core.dispatch.due import SessionDue
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.job import Job, JobStatus, SessionKey
from ray_sched.core.messages.client_dispatcher import Assigned, Delivered, MissingResult, SpeechReady


def notify_assigned(step: Step, job: Job) -> None:
    """Notify the submitter of where to push the audio."""
    event = Assigned(
        job_id=job.job_id,
        attempt=job.attempt,
        node=job.node,
        incarnation=job.incarnation,
        agent=job.agent,
        has_own_pass=job.has_own_pass,
    )
    step.notify(job.client_id, event)


def notify_speech_ready(step: Step, job: Job) -> None:
    """Notify the submitter of where to fetch the speech of a job that has run."""
    if job.speech is None:
        raise ValueError(f"no speech of job {job.job_id} waits")
    event = SpeechReady(
        job_id=job.job_id,
        attempt=job.attempt,
        agent=job.agent,
        n_bytes=job.speech.speech_bytes,
        rate_hz=job.speech.speech_rate_hz,
    )
    step.notify(job.client_id, event)


def notify_again(step: Step, job: Job) -> None:
    """Notify a submitter that asks again of what it may have missed, if it has to know it now."""
    if job.is_delivered:
        step.notify(job.client_id, _delivered(job))
    elif job.status is JobStatus.ASSIGNED:
        notify_assigned(step, job)
    elif job.speech:
        notify_speech_ready(step, job)


def notify_without_place(step: Step, job: Job) -> None:
    """Notify a submitter of the outcome that its session held back, now that another job has the place of this one."""
    step.notify(job.client_id, msgspec.structs.replace(_delivered(job), utterance_index=None))


def deliver(state: DispatchState, step: Step, job: Job) -> None:
    """Deliver the outcome of an ended job now, or when the results before it in its session are."""
    if job.utterance_index is None:
        _deliver(state, step, job)
        step.notify(job.client_id, _delivered(job))
        return
    session = state.open_session(step, job.session_key)
    _release(state, step, session, session.ready(job.utterance_index, _delivered(job), step.now_ms))


def _deliver(state: DispatchState, step: Step, job: Job) -> None:
    state.deliver(step, job)
    state.counters.times.delivery.observe(step.now_ms - job.ended_at_ms)
    state.counters.times.total.observe(step.now_ms - job.created_at_ms)


def _delivered(job: Job) -> Delivered:
    if job.outcome is None:
        raise ValueError(f"job {job.job_id} has not ended")
    return Delivered(
        job_id=job.job_id, session=job.spec.session, utterance_index=job.utterance_index, outcome=job.outcome
    )


def _release(state: DispatchState, step: Step, session: Session, released: Iterable[Release]) -> None:
    """Notify the submitter of what its session has released, and set the time of the next gap."""
    client_id, name = session.key
    for what in released:
        if isinstance(what, Deliver):
            job = state.jobs.get(what.item.job_id)
            if job:  # else it has been forgotten while its result was held back
                _deliver(state, step, job)
            state.counters.late_results += what.is_late
            step.notify(client_id, msgspec.structs.replace(what.item, is_late=what.is_late))
        else:
            state.counters.gaps += 1
            why = session.why_missing(what)
            step.notify(client_id, MissingResult(session=name, first_index=what.first, last_index=what.last, why=why))
    state.await_gap(session)


def gap_due(state: DispatchState, step: Step, key: SessionKey) -> None:
    """Announce what a session misses, and deliver what it has held back because of that."""
    session = state.sessions.get(key)
    if session:  # else it was forgotten in this very sweep, with its client: what it had held was released then
        _release(state, step, session, session.announce(step.now_ms))


def enter_session(
    state: DispatchState, step: Step, key: SessionKey, index: int | None, replaced: Job | None
) -> Session | None:
    """The session of a new job. None: it would be one too many, and the client has none that is idle.

    ``index``: the one the job wants. A session that was forgotten goes on where it was; if that is not known, at the
    index of a job that takes the place of a failed one.
    """
    client_id, sessions = key[0], state.sessions
    session = sessions.get(key)
    if session:
        sessions.touch(session)
        return session
    if sessions.n_of_client(client_id) >= state.rules.max_sessions_per_client:
        idle = sessions.idle_of_client(client_id)
        if idle is None:
            return None
        state.close_session(idle)
    session = state.open_session(step, key)
    resume_at = sessions.pop_resume_at(key)
    if replaced and index is not None:
        session.go_on_at(resume_at or index)
    elif index is not None and index >= resume_at > 0:
        session.go_on_at(resume_at)
    return session


def begin_session(state: DispatchState, step: Step, session: Session, first_index: int) -> None:
    """The submitter of a session awaits nothing before this index: what it holds back is not held back for that."""
    _release(state, step, session, session.begin_at(first_index))


def session_due(state: DispatchState, step: Step, key: SessionKey) -> None:
    """Forget a session that was not used for too long, or whose client is gone, once nothing of it is open."""
    session = state.sessions.get(key)
    if session is None:  # due twice in one sweep: by itself, and with its client
        return
    is_client_gone = key[0] not in state.clients
    gone_at_ms = session.last_used_ms + state.rules.session_ttl_ms
    if session.is_idle and (is_client_gone or step.now_ms >= gone_at_ms):
        state.close_session(session)
    else:
        soon_ms = step.now_ms + state.rules.client_ttl_ms
        state.postpone(SessionDue(key), soon_ms if is_client_gone else max(gone_at_ms, soon_ms))


def restore_sessions(state: DispatchState, step: Step, jobs: Iterable[Job]) -> None:
    """Each session goes on where it was: what was delivered stays so, what was held is held or delivered."""
    by_session: dict[SessionKey, list[Job]] = {}
    for job in jobs:
        if job.spec.session:
            by_session.setdefault(job.session_key, []).append(job)
    for key, members in by_session.items():
        state.open_session(step, key).resume(members)
        for job in members:
            if job.is_terminal and not job.is_delivered:
                deliver(state, step, job)
