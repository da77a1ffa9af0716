"""What people ask the Dispatcher: the whole in numbers, lists of jobs, and why a job is where it is."""

from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.reasons import SENTENCE, Reason, reasons_text
from ray_sched.core.units import shown_ms
from ray_sched.core.views.job_filter import JobFilter

if TYPE_CHECKING:  # who asks is answered with these views and has no brain
    from ray_sched.core.dispatch.brain import DispatchBrain
    from ray_sched.core.placement.policy import Placement

_SAID_BY_POOL = frozenset({Reason.NOT_READY, Reason.RESOURCE_THRESHOLD})
"""Reasons for which a node's pool has words of its own."""


class ClusterView(Struct, frozen=True, kw_only=True):
    """The scheduler in numbers, at one moment."""

    jobs: dict[str, int]
    """Jobs known by status; finished ones until clean-up."""
    waiting: int
    ended_per_s: float
    slots: int
    free_slots: int
    spent_slots: int
    sessions: int
    held_bytes: int
    """Ledger: audio in the memory of submitters, by their last poll."""
    stored_bytes: int
    """Ledger: audio in the object store, by the submitters' last polls."""
    counters: dict[str, int]
    no_node: dict[str, int]
    """Jobs that found no node in time, each once, by reason: that of the nodes which were nearest to serving it."""
    rejected: dict[str, int]
    is_draining: bool
    store_error: str


class JobView(Struct, frozen=True, kw_only=True):
    """One job in a list."""

    job_id: str
    name: str
    status: str
    pair: str
    services: tuple[str, ...]
    session: str
    utterance_index: int | None
    node: str
    attempt: int
    priority: int
    tenant: str
    submitted_at_ms: int
    """By the scheduler's clock, since 1970."""
    age_ms: int
    """Since submission."""
    wait_ms: int
    """From submission until a node had the audio, or until now or the end if none has it."""
    run_ms: int
    """From then until now, or until the end."""
    ended_ago_ms: int | None
    """Since the end; null: it has not ended."""
    audio_ms: int
    error: str


class NodeVerdict(Struct, frozen=True, kw_only=True):
    """What the placement policy says of one node for one job."""

    node: str
    reason: str = ""
    """Empty: nothing speaks against the node."""
    sentence: str = ""
    score: float | None = None
    """Product of the scores; smaller is better."""
    parts: dict[str, float] = {}
    """Each score by name: expected completion in seconds, affinity factor."""


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a job is where it is."""

    job: JobView
    summary: str
    """One sentence."""
    ahead: int | None
    """For a waiting job: jobs of the same demand that will be served before it, if nobody else comes."""
    nodes: tuple[NodeVerdict, ...]
    """What the placement policy would decide now: for a waiting job the answer, for others a dry run."""
    story: tuple[tuple[int, int, str], ...]
    """Milliseconds since submission, attempt, what happened."""


def status_view(
    brain: "DispatchBrain", now_ms: int, *, held_bytes: int, stored_bytes: int, store_error: str
) -> ClusterView:
    """The scheduler in numbers."""
    count = brain.counters
    node_states = [node_state for node_state in brain.node_states.values() if now_ms < node_state.term_ends_at_ms]
    return ClusterView(
        jobs={str(status): brain.census.jobs[status] for status in JobStatus},
        waiting=len(brain.waiting),
        ended_per_s=round(brain.ended_per_s, 2),
        slots=sum(node_state.n_leased for node_state in node_states),
        free_slots=sum(node_state.n_free for node_state in node_states),
        spent_slots=sum(node_state.n_acquired for node_state in brain.node_states.values()),
        sessions=len(brain.sessions),
        held_bytes=held_bytes,
        stored_bytes=stored_bytes,
        counters={
            "submitted": count.submitted,
            "duplicates": count.duplicates,
            "assigned": count.assigned,
            "requeued": count.requeued,
            "refused": count.refused,
            "late_messages": count.late_messages,
            "gaps": count.gaps,
            "late_results": count.late_results,
            "cleaned": count.cleaned,
            **{f"ended_{status}": n for status, n in sorted(count.ended.items())},
        },
        no_node={str(reason): n for reason, n in sorted(count.no_node.items())},
        rejected={str(code): n for code, n in sorted(count.rejected.items())},
        is_draining=brain.is_draining,
        store_error=store_error,
    )


def job_view(job: Job, now_ms: int) -> JobView:
    """One job as a row."""
    error = job.outcome.error if job.outcome else None
    until_ms = job.ended_at_ms or now_ms
    begun_at_ms = job.accepted_at_ms or until_ms
    return JobView(
        job_id=job.job_id,
        name=job.spec.name,
        status=str(job.status),
        pair=job.demand.pair,
        services=job.spec.services,
        session=job.spec.session,
        utterance_index=job.utterance_index,
        node=job.node,
        attempt=job.attempt,
        priority=job.spec.priority,
        tenant=job.spec.tenant,
        submitted_at_ms=job.created_at_ms,
        age_ms=now_ms - job.created_at_ms,
        wait_ms=begun_at_ms - job.created_at_ms,
        run_ms=until_ms - begun_at_ms,
        ended_ago_ms=now_ms - job.ended_at_ms if job.is_terminal else None,
        audio_ms=job.audio_ms,
        error=f"{error.code}: {error.message}" if error else "",
    )


def jobs_view(brain: "DispatchBrain", now_ms: int, wanted: JobFilter, limit: int) -> list[JobView]:
    """The newest of these jobs first, at most ``limit``."""
    return [job_view(job, now_ms) for job in islice(wanted.newest(brain), limit)]


def explain(brain: "DispatchBrain", job_id: str, now_ms: int) -> Explanation:
    """Why a job is where it is. Raises SchedError UNKNOWN_JOB for one that is not known (any more)."""
    job = brain.jobs.get(job_id)
    if job is None:
        raise SchedError(
            Code.UNKNOWN_JOB, f"there is no job {job_id[:80]!r}; finished jobs are forgotten after the clean-up age"
        )
    placement = brain.placement(job, is_explained=True)
    because = {node: node_state.because for node, node_state in brain.node_states.items()}
    verdicts = tuple(_verdict(placement, node, words) for node, words in because.items())
    is_blocked = job.status is JobStatus.PENDING and brain.waiting.is_paused(job.client_id)
    ahead = _ahead(brain, job) if job.status is JobStatus.PENDING else None
    return Explanation(
        job=job_view(job, now_ms),
        summary=_blocked(job, now_ms) if is_blocked else _summary(job, verdicts, because, ahead, now_ms),
        ahead=ahead,
        nodes=tuple(sorted(verdicts, key=lambda v: (v.score is None, v.score or 0.0, v.node))),
        story=tuple((line.at_ms - job.created_at_ms, line.attempt, line.what) for line in job.story),
    )


def _verdict(placement: "Placement", node: str, because: str) -> NodeVerdict:
    """``because``: what the node's pool says of it."""
    reason = placement.reasons.get(node)
    if reason:
        said = f": {because}" if because and reason in _SAID_BY_POOL else ""
        return NodeVerdict(node=node, reason=reason, sentence=SENTENCE[reason] + said)
    score = placement.scores[node]
    parts = {name: round(part, 4) for name, part in score.parts.items()}
    return NodeVerdict(node=node, score=round(score.total, 4), parts=parts)


def _ahead(brain: "DispatchBrain", job: Job) -> int:
    """Jobs of the same demand that would be served before it if nobody else came."""
    for ahead, other in enumerate(brain.waiting.in_order(job.demand)):
        if other.job_id == job.job_id:
            return ahead
    return 0


def _blocked(job: Job, now_ms: int) -> str:
    until = f"; gives up in {shown_ms(max(job.deadline_at_ms - now_ms, 0))}" if job.spec.deadline_ms else ""
    return f"waits for its client, whose event loop is blocked{until}"


def _summary(
    job: Job, verdicts: tuple[NodeVerdict, ...], because: dict[str, str], ahead: int | None, now_ms: int
) -> str:
    if job.status is JobStatus.PENDING:
        left_ms = max(job.deadline_at_ms - now_ms, 0)
        if not verdicts:
            return f"waits for a node: there is none; gives up in {shown_ms(left_ms)}"
        reasons = {verdict.node: Reason(verdict.reason) for verdict in verdicts if verdict.reason}
        why = reasons_text(reasons, because) if len(reasons) == len(verdicts) else "others come first"
        before_it = f"; {ahead} others of its kind come first" if ahead else ""
        return f"waits for a node: {why}{before_it}; gives up in {shown_ms(left_ms)}"
    if job.status is JobStatus.ASSIGNED:
        return f"assigned to {job.node} {shown_ms(now_ms - job.assigned_at_ms)} ago; the submitter brings the audio"
    if job.status is JobStatus.PROCESSING:
        doing = "its speech waits to be fetched" if job.speech else "it runs there"
        return f"accepted by {job.node} {shown_ms(now_ms - job.accepted_at_ms)} ago; {doing}"
    delivery = "" if job.is_delivered else "; its result waits for earlier ones of its session"
    error = job.outcome.error if job.outcome else None
    return f"{job.status} {shown_ms(now_ms - job.ended_at_ms)} ago on {job.node or 'no node'}" + (
        f": {error.message}" if error else delivery
    )
