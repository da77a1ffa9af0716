"""Assigning: free slots are given to waiting jobs, the next one first.

Which node a job goes to is decided in ``placement``; here is what a job asks of it, and what follows from the answer.
"""

from collections import Counter
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.dispatch import delivering
from ray_sched.core.dispatch.decisions import Decision
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.job import Job
from ray_sched.core.placement.policy import Placement
from ray_sched.core.placement.question import Question
from ray_sched.core.reasons import Reason, Tier, nearest, reasons_text

_LOOK_BEHIND = 16
"""How many jobs that avoid their failed node or are exclusive may be passed by one behind them."""


class WhyNot(NamedTuple):
    """Why there is no node for a job."""

    main: Reason | Tier
    """That of the nodes which were nearest to serving it."""
    text: str


def acquire_leases(state: DispatchState, step: Step) -> None:
    """Give free slots to waiting jobs, the next one first, until slots or takers run out."""
    if state.is_store_away:  # nobody could be notified, and the push would be late before it began
        return
    if state.waiting.lone is not None:
        _assign(state, step, state.waiting.lone)
        state.waiting.settle()
    if not len(state.waiting):
        return
    groups = state.node_table.groups
    skipped = []
    while (demand := groups.next_demand()) is not None:
        if not _assign_next(state, step, demand):
            groups.skip(demand)
            skipped.append(demand)
    for demand in skipped:
        groups.enqueue(demand)


def _assign(state: DispatchState, step: Step, job: Job) -> bool:
    """Assign a job to the node that placement finds for it. False: there is none now, but perhaps one to reserve."""
    found = placement(state, step, job)
    if found.node_state is None:
        if job.is_exclusive:
            state.reservations.reserve(job.job_id, found.to_reserve)
        return False
    if found.considered:
        step.decisions.append(Decision(job.job_id, job.attempt, step.now_ms, found.node_state.node, found.considered))
    state.assign(step, job, found.node_state)
    if job.attempt == 1:
        state.counters.times.wait.observe(step.now_ms - job.created_at_ms)
    delivering.notify_assigned(step, job)
    return True


def _assign_next(state: DispatchState, step: Step, demand: Demand) -> bool:
    """Assign the next job of a demand; where that avoids its failed node or is exclusive, one behind it."""
    skipped: list[Job] = []
    is_assigned = False
    while (job := state.waiting.head(demand)) is not None:
        is_assigned = _assign(state, step, job)
        if is_assigned:
            break
        if not (job.is_exclusive or job.excluded_node) or len(skipped) == _LOOK_BEHIND:
            break
        state.waiting.skip(job)
        skipped.append(job)
    for job in skipped:
        state.waiting.readmit(job)
    return is_assigned


def placement(state: DispatchState, step: Step, job: Job, *, is_explained: bool = False) -> Placement:
    """Where the job would go now; with ``is_explained`` what is decided of each node, too."""
    candidates = state.node_table.groups.candidates(job.demand)
    return state.policy.place(question(state, step, job), candidates, is_explained=is_explained)


def question(state: DispatchState, step: Step, job: Job) -> Question:
    """The job as placement sees it."""
    rules = state.selection
    demand = job.demand
    session = state.sessions.by_key.get(job.session_key) if job.spec.session else None
    return Question(
        demand=demand,
        pair=demand.pair,
        audio_ms=state.expected_ms(job),
        now_ms=step.now_ms,
        rules=rules,
        speeds=state.speeds,
        job_id=job.job_id,
        is_exclusive=job.is_exclusive,
        tie_key=f"{job.job_id}/{job.attempt}",
        excluded_node=job.excluded_node,
        is_late=step.now_ms >= _late_at_ms(state, job),
        excluded_until_ms=job.excluded_until_ms,
        colocated_node=step.colocated.get(job.client_id, ""),
        affine_node=session.affine_node(step.now_ms, rules.affinity_ttl_ms) if session else "",
    )


def _late_at_ms(state: DispatchState, job: Job) -> int:
    """From then on the job takes a node on which it, or others, have failed rather than none: its time is half up."""
    wait_ms = state.rules.pending_timeout_ms
    return job.deadline_at_ms - min(wait_ms, job.spec.deadline_ms or wait_ms) // 2


def why_no_node(state: DispatchState, step: Step, job: Job) -> WhyNot:
    """What speaks against each node, for a job that has found none. Looks at all nodes."""
    reasons = placement(state, step, job, is_explained=True).reasons
    nobody = "others were first" if state.node_table.by_node else "there is no node at all"
    because = {node: node_state.because for node, node_state in state.node_table.by_node.items()}
    text = reasons_text(reasons, because) if reasons else nobody
    return WhyNot(nearest(Counter(reasons.values()), len(state.node_table.by_node)), text)
