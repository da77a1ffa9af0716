"""What people ask the Dispatcher: the whole in numbers, lists of jobs, and why a job is where it is."""

from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from ray_sched.core.job import Job, JobStatus
from ray_sched.core.views.job_filter import JobFilter

if TYPE_CHECKING:  # who asks is answered with these views and has no brain
    from ray_sched.core.dispatch.brain import DispatchBrain


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
