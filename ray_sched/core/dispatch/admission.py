"""Admission: which submitted jobs are taken, and the sentence for each that is not."""

from msgspec import structs

from ray_sched.core.capability import ASR, AUTO, MT, SERVICES, TTS
from ray_sched.core.errors import ABOUT, About, Code, Refusal
from ray_sched.core.job import Job
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.messages.fields import MAX_AUDIO_MS
from ray_sched.core.queue.waiting import Backlog
from ray_sched.core.rules import DispatchRules
from ray_sched.core.units import shown_ms

_MIN_RETRY_MS = 50
_MAX_RETRY_MS = 10_000


def invalid(spec: JobSpec) -> Refusal | None:
    """What is wrong with a description that has the right types, or None."""
    if not spec.request_id:
        return _refuse(Code.INVALID_MESSAGE, "a job needs a request id")
    unknown = [service for service in spec.services if service not in SERVICES]
    if unknown:
        return _refuse(Code.INVALID_MESSAGE, f"unknown service {unknown[0]!r}; there are {', '.join(SERVICES)}")
    if tuple(sorted(set(spec.services))) != spec.services or not spec.services:
        return _refuse(Code.INVALID_MESSAGE, "services must be sorted, without repetition, and at least one")
    if (ASR in spec.services) == bool(spec.hints and spec.hints.text):
        return _refuse(Code.INVALID_MESSAGE, "a job recognises its audio, or has a text instead and no asr")
    wrong = _wrong_with_languages(spec)
    if wrong:
        return _refuse(Code.INVALID_MESSAGE, wrong)
    if spec.audio_ms > MAX_AUDIO_MS:
        return _refuse(Code.INVALID_MESSAGE, "the audio is longer than a day; split it")
    return _misplaced(spec)


def _misplaced(spec: JobSpec) -> Refusal | None:
    """What is wrong with the place in a session."""
    index, first = spec.utterance_index, spec.first_index
    if index is not None and not spec.session:
        return _refuse(Code.INVALID_MESSAGE, "an utterance index needs a session")
    if first is not None and not spec.session:
        return _refuse(Code.INVALID_MESSAGE, "a first index needs a session")
    if first is not None and index is not None and index < first:
        return _refuse(Code.INVALID_MESSAGE, f"utterance {index} comes before {first}, where its session begins")
    return None


def _wrong_with_languages(spec: JobSpec) -> str:
    """What is wrong with the pair or with a language that is to be found out, or nothing."""
    if (MT in spec.services) != (spec.src != spec.tgt):
        return f"mt goes with two different languages, not with {spec.src}:{spec.tgt}"
    if spec.src == AUTO and ASR not in spec.services:
        return "the language of a text has to be named"
    if spec.tgt == AUTO and (spec.src != AUTO or TTS in spec.services):
        return "auto is a target only for what is recognised as auto and not spoken again"
    candidates = spec.hints.candidates if spec.hints else ()
    if candidates and spec.src != AUTO:
        return f"languages to choose from go with auto as the source, not with {spec.src}"
    if tuple(sorted(set(candidates))) != candidates:
        return "languages to choose from must be sorted, without repetition"
    return ""


def is_same_content(job: Job, spec: JobSpec) -> bool:
    """Whether a repeated request id describes the job it named. The place in the session may be left open.

    It may be the one that was wanted, too, if the job has another one.
    """
    known = job.spec
    return (known.src, known.tgt, known.services, known.session, known.digest, known.tenant, known.hints) == (
        spec.src,
        spec.tgt,
        spec.services,
        spec.session,
        spec.digest,
        spec.tenant,
        spec.hints,
    ) and spec.utterance_index in {None, job.utterance_index, known.utterance_index}


def is_new_job(job: Job, spec: JobSpec, now_ms: int) -> bool:
    """Whether a repeated request id asks for a new job, as the one it named has failed for no fault of its own.

    One call that is repeated, since its answer was lost, gets the answer it had; but a client that was gone is back, so
    what failed for that is tried again, unless the deadline of the call has passed. Another call gets that answer, too,
    while it is held back behind earlier results; what was cancelled is run for it.
    """
    error = job.outcome.error if job.outcome else None
    if error is None or ABOUT[error.code] is About.JOB:
        return False
    if spec.submission != job.spec.submission and (job.is_delivered or error.code is Code.CANCELLED):
        return True
    return error.code is Code.CLIENT_GONE and not (spec.deadline_ms and now_ms >= job.deadline_at_ms)


def with_deadline_of(job: Job, spec: JobSpec, now_ms: int) -> JobSpec:
    """The description of the job that replaces this one: a deadline of the same call goes on."""
    if not spec.deadline_ms or spec.submission != job.spec.submission:
        return spec
    return structs.replace(spec, deadline_ms=max(job.deadline_at_ms - now_ms, 1))


def other_content(job: Job) -> Refusal:
    """The answer to a request id that is used for something else."""
    return _refuse(
        Code.DUPLICATE_REQUEST,
        f"request id {job.spec.request_id!r} belongs to {job.job_id}, which has other content; use a new request id",
    )


def index_taken(spec: JobSpec) -> Refusal:
    """The answer to an utterance index given twice."""
    return _refuse(
        Code.DUPLICATE_INDEX,
        f"utterance {spec.utterance_index} of session {spec.session!r} was submitted before; use the next index",
    )


def too_many_sessions(rules: DispatchRules) -> Refusal:
    """The answer to a new session of a client that has as many as it may, each with something open."""
    most = rules.max_sessions_per_client
    return Refusal(
        code=Code.OVERLOADED,
        message=f"{most} sessions of this client have jobs that have not ended; try again in {shown_ms(_MIN_RETRY_MS)}",
        retry_after_ms=_MIN_RETRY_MS,
    )


def overloaded(backlog: Backlog, spec: JobSpec, rules: DispatchRules, ended_per_s: float) -> Refusal | None:
    """Whether the queue is full, or this job's share of it; with the time until a tenth of it has gone.

    Anybody may fill the queue up to fifteen sixteenths. The next thirty-second is for flows (sessions, or clients
    without one) that have fewer jobs waiting than there are places left of it, the last thirty-second for tenants of
    which that is true. So however many are greedy, who has nothing waiting finds a place as soon as there is one.
    """
    n_waiting, n_of_tenant, n_of_flow = backlog
    left = rules.max_waiting_jobs - n_waiting
    for_tenants = rules.max_waiting_jobs // 32
    flow = f"session {spec.session!r}" if spec.session else "this client"
    if left <= 0:
        what, n_jobs = f"{n_waiting} jobs wait already", n_waiting
    elif left <= for_tenants and n_of_tenant >= left:
        what = f"{n_of_tenant} jobs of tenant {spec.tenant!r} wait already; the room left is for others"
        n_jobs = n_of_tenant
    elif for_tenants < left <= 2 * for_tenants and n_of_flow >= left - for_tenants:
        what, n_jobs = f"{n_of_flow} jobs of {flow} wait already; the room left is for others", n_of_flow
    elif spec.session and n_of_flow >= rules.max_waiting_jobs_per_session:
        what, n_jobs = f"{n_of_flow} jobs of {flow} wait already", n_of_flow
    else:
        return None
    wait_ms = int(100 * n_jobs / ended_per_s) if ended_per_s > 0 else 1_000
    retry_ms = min(max(wait_ms, _MIN_RETRY_MS), _MAX_RETRY_MS)
    return Refusal(code=Code.OVERLOADED, message=f"{what}; try again in {shown_ms(retry_ms)}", retry_after_ms=retry_ms)


def _refuse(code: Code, message: str) -> Refusal:
    return Refusal(code=code, message=message)
