"""What would become of a job if somebody submitted it: refused, on a node at once, or kept waiting, and why."""

from typing import TYPE_CHECKING

from ray_sched.core.dispatch import admission
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import Job
from ray_sched.core.messages.client_dispatcher import JobSpec
from ray_sched.core.queue.waiting import Backlog
from ray_sched.core.reasons import Tier
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explain import explaining_job
from ray_sched.core.views.explanation import Explanation
from ray_sched.core.views.jobs import job_view

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

DRY_RUN = "dry-run"
"""Instead of a job's id."""


def dry_running(brain: "DispatchBrain", spec: JobSpec, now_ms: int) -> Sliced[Explanation]:
    """What would become of this job if a new client submitted it now. Raises SchedError if it could not be a job."""
    invalid = admission.invalid(spec)
    if invalid:
        raise SchedError(invalid.code, invalid.message)
    job = Job(
        job_id=DRY_RUN,
        client_id="",
        spec=spec,
        utterance_index=None,
        created_at_ms=now_ms,
        number=brain.counters.submitted + 1,
        audio_ms=spec.audio_ms,
        deadline_at_ms=now_ms + (spec.deadline_ms or brain.rules.pending_timeout_ms),
    )
    refused = _refusal(brain, spec)
    if refused:
        return _not_taken(job, *refused, now_ms)
    return (yield from explaining_job(brain, job, now_ms, is_dry=True))


def _refusal(brain: "DispatchBrain", spec: JobSpec) -> tuple[Tier | Code, str] | None:
    """Why it would not be taken, as admission says it, and how many jobs would have to leave for it to be taken."""
    if brain.is_draining:
        return Code.SHUTTING_DOWN, "the scheduler is shutting down and takes no new jobs"
    backlog = brain.waiting.backlog(spec.tenant, ("", spec.session))
    refusal = admission.overloaded(backlog, spec, brain.rules, brain.ended_per_s)
    if refusal is None:
        return None
    n_too_many = next(n for n in range(1, backlog[0] + 1) if _is_taken(brain, spec, backlog, n))
    jobs = "one of these jobs" if n_too_many == 1 else f"{n_too_many} of these jobs"
    return Tier.QUOTA, f"{refusal.message}; would be taken now if {jobs} had left"


def _is_taken(brain: "DispatchBrain", spec: JobSpec, backlog: Backlog, n_left: int) -> bool:
    """Whether admission would take it if so many of the jobs it is compared with had left the queue."""
    n_waiting, n_of_tenant, n_of_flow = (max(n - n_left, 0) for n in backlog)
    return admission.overloaded((n_waiting, n_of_tenant, n_of_flow), spec, brain.rules, 0.0) is None


def _not_taken(job: Job, tier: Tier | Code, why: str, now_ms: int) -> Explanation:
    return Explanation(
        job=job_view(job, now_ms),
        summary=f"would be refused: {why}",
        tier=str(tier),
        counts={},
        ahead=None,
        starts=None,
        otherwise=(),
        nodes=(),
        story=(),
    )
