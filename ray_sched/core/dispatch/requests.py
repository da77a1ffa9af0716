"""What clients ask for: jobs are submitted and cancelled, audio and speech go their way, clients come and go."""

from collections.abc import Callable
from typing import assert_never

import msgspec

from ray_sched.core.dispatch import admission
from ray_sched.core.dispatch.assigning import Assigning
from ray_sched.core.dispatch.attempts import Attempts
from ray_sched.core.dispatch.client_events import assigned, delivered, speech_ready
from ray_sched.core.dispatch.delivering import Delivering
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.effects import (
    DropClient,
    Log,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job, JobEvent, JobStatus
from ray_sched.core.messages.agent_dispatcher import DropSpeech
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    AudioUnreadable,
    Cancel,
    ClientMessage,
    JobSpec,
    PushFailed,
    Refused,
    SpeechLost,
    SpeechTaken,
    Submit,
)

_MAX_WHY = 1_000

_REMEMBERED_WORDS = 4_096
Words = tuple[str, str, str, tuple[str, ...], str, str]


class Requests:
    """Hears clients. Nothing that a client says touches a job of another one."""

    def __init__(
        self, epoch: str, state: DispatchState, assigning: Assigning, attempts: Attempts, delivering: Delivering
    ) -> None:
        self._epoch = epoch
        self._state = state
        self._assigning = assigning
        self._attempts = attempts
        self._delivering = delivering
        self._words: dict[Words, Words] = {}
        self.is_draining = False
        self.by_id: dict[tuple[str, str], str] = {}
        """Client id and request id to job id."""
        self.number = 0
        """Jobs admitted so far."""

    def touch_client(self, client_id: str) -> None:
        """A client is there."""
        if client_id not in self._state.clients:
            self._state.due.set(("client", client_id, ""), self._state.now_ms + self._state.rules.client_ttl_ms)
        self._state.clients[client_id] = self._state.now_ms

    def handle_client(self, client_id: str, message: ClientMessage) -> Answer | None:
        """One message of a client; the answer to a Submit or Cancel."""
        match message:
            case Submit():
                return self._submit(client_id, message.spec)
            case Cancel():
                return self._cancel(client_id, message.job_id)
            case PushFailed():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.ASSIGNED, self._push_failed(message)
                )
            case AudioUnreadable():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.ASSIGNED, self._unreadable(message)
                )
            case SpeechTaken():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.PROCESSING, self._speech_taken
                )
            case SpeechLost():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.PROCESSING, self._speech_lost(message)
                )
            case _:
                assert_never(message)
        return None

    def _about_attempt(
        self, client_id: str, job_id: str, attempt: int, status: JobStatus, then: Callable[[Job], None]
    ) -> None:
        """Do it if the client owns the job and the attempt still counts; else count it as late."""
        job = self._state.jobs.get(job_id)
        if job and job.client_id == client_id and job.attempt == attempt and job.status is status:
            then(job)
        else:
            self._state.counters.late_messages += 1

    def _submit(self, client_id: str, spec: JobSpec) -> Answer:
        answer = self._answer(client_id, spec)
        if isinstance(answer, Refused):
            code = answer.refusal.code
            self._state.counters.rejected[code] = self._state.counters.rejected.get(code, 0) + 1
        return answer

    def _answer(self, client_id: str, spec: JobSpec) -> Answer:
        known = self._state.jobs.get(self.by_id.get((client_id, spec.request_id), ""))
        if known:
            return self._repeat(known, spec)
        refusal = self._refusal(client_id, spec)
        if refusal:
            return Refused(refusal=refusal)
        session = self._delivering.enter(client_id, spec) if spec.session else None
        if spec.session and session is None:
            return Refused(refusal=admission.too_many_sessions(self._state.rules))
        index = session.claim(spec.utterance_index) if session else None
        if session and index is None:
            return Refused(refusal=admission.index_taken(spec))
        job = self._admit(client_id, spec, index)
        if session and index is not None:
            session.open_indexes[index] = job.job_id
        return Accepted(job_id=job.job_id, utterance_index=index)

    def _refusal(self, client_id: str, spec: JobSpec) -> Refusal | None:
        self._assigning.queue_arrival()
        if self.is_draining:
            return Refusal(code=Code.SHUTTING_DOWN, message="the scheduler is shutting down and takes no new jobs")
        return admission.invalid(spec) or admission.overloaded(
            len(self._state.waiting),
            *self._state.waiting.shares.waiting(spec.tenant, (client_id, spec.session)),
            spec,
            self._state.rules,
            self._state.rate.per_s,
        )

    def _repeat(self, job: Job, spec: JobSpec) -> Answer:
        """The same request id again: the same job back, and its outcome again if it was delivered."""
        if not admission.is_same_content(job, spec):
            return Refused(refusal=admission.other_content(job))
        self._state.counters.duplicates += 1
        if job.is_delivered:
            self._state.notify(job, delivered(job))
        elif job.status is JobStatus.ASSIGNED:
            self._state.notify(job, assigned(job))
        elif job.speech:
            self._state.notify(job, speech_ready(job, job.speech))
        return Accepted(job_id=job.job_id, is_duplicate=True, utterance_index=job.utterance_index)

    def _admit(self, client_id: str, spec: JobSpec, index: int | None) -> Job:
        self.number += 1
        client_id, spec = self._shared(client_id, spec)
        job = Job(
            job_id=f"{self._epoch}-{self.number}",
            client_id=client_id,
            spec=spec,
            utterance_index=index,
            created_at_ms=self._state.now_ms,
            number=self.number,
            audio_ms=spec.audio_ms,
            deadline_at_ms=self._state.now_ms + (spec.deadline_ms or self._state.rules.pending_timeout_ms),
        )
        job.record(self._state.now_ms, "submitted")
        self._state.jobs[job.job_id] = job
        self.by_id[client_id, spec.request_id] = job.job_id
        self._state.counters.submitted += 1
        self._assigning.wait(job)
        return job

    def _shared(self, client_id: str, spec: JobSpec) -> tuple[str, JobSpec]:
        """The same, in words that are kept once for all jobs that have them in common: 0.4 kB less for each job."""
        if len(self._words) >= _REMEMBERED_WORDS:
            self._words.clear()
        words = (client_id, spec.src, spec.tgt, spec.services, spec.session, spec.tenant)
        client_id, src, tgt, services, session, tenant = self._words.setdefault(words, words)
        shared = {"src": src, "tgt": tgt, "services": services, "session": session, "tenant": tenant}
        return client_id, msgspec.structs.replace(spec, **shared)

    def _cancel(self, client_id: str, job_id: str) -> Answer:
        job = self._state.jobs.get(job_id)
        if not job or job.client_id != client_id:
            return Refused(refusal=Refusal(code=Code.UNKNOWN_JOB, message=f"there is no job {job_id} of this client"))
        if not job.is_terminal:
            self._attempts.stop_attempt(job)
            self._attempts.end(job, JobEvent.CANCEL, Refusal(code=Code.CANCELLED, message="cancelled by its submitter"))
        return Accepted(job_id=job_id, utterance_index=job.utterance_index)

    def take_back(self, client_id: str, request_id: str) -> Job | None:
        """A job whose submit was answered no in the end leaves no trace. Returned, if there was one."""
        job = self._state.jobs.get(self.by_id.get((client_id, request_id), ""))
        if job is None or job.is_terminal:
            return None
        self._attempts.stop_attempt(job)
        self._assigning.give_up(job)
        self._state.due.cancel(("job", job.job_id, ""))
        if job.utterance_index is not None:
            self._delivering.session(client_id, job.spec.session).take_back(job.utterance_index)
        code = Code.SCHEDULER_DEPENDENCY_DOWN
        self._state.counters.submitted -= 1
        self._state.counters.rejected[code] = self._state.counters.rejected.get(code, 0) + 1
        return job

    def _push_failed(self, message: PushFailed) -> Callable[[Job], None]:
        return lambda job: self._attempts.requeue(job, Code.PUSH_FAILED, message.why)

    def _unreadable(self, message: AudioUnreadable) -> Callable[[Job], None]:
        why = message.refusal.message[:_MAX_WHY]

        def fail(job: Job) -> None:
            self._attempts.stop_attempt(job)
            self._attempts.end(job, JobEvent.FAIL, Refusal(code=message.refusal.code, message=why))

        return fail

    def _speech_taken(self, job: Job) -> None:
        if job.speech:
            self._state.order(job, DropSpeech(job_id=job.job_id, attempt=job.attempt))
            self._attempts.finish(job, job.speech)

    def _speech_lost(self, message: SpeechLost) -> Callable[[Job], None]:
        why = f"speech lost: {message.why}"
        return lambda job: self._attempts.requeue(job, Code.NODE_LOST, why) if job.speech else None

    def _client_gone(self, client_id: str) -> None:
        """A client has not polled for too long: its waiting jobs end; what runs goes on."""
        del self._state.clients[client_id]
        refusal = Refusal(code=Code.CLIENT_GONE, message="the client that holds the audio has not been heard of")
        gone = self._state.waiting.of_client(client_id)
        for job in gone:
            self._attempts.end(job, JobEvent.CANCEL, refusal)
        for name in self._delivering.of_client(client_id):
            self._state.due.set(("session", client_id, name), self._state.now_ms)
        self._state.effects.append(DropClient(client_id))
        self._state.effects.append(Log(f"a client is gone; {len(gone)} waiting jobs cancelled"))

    def client_due(self, client_id: str) -> None:
        """See whether a client has been silent for too long."""
        gone_at_ms = self._state.clients[client_id] + self._state.rules.client_ttl_ms
        if self._state.now_ms >= gone_at_ms:
            self._client_gone(client_id)
        else:
            self._state.due.set(("client", client_id, ""), gone_at_ms)
