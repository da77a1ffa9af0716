"""Why a job is where it is, when it will start, and what would have to be otherwise for it to start now.

All of it is asked of the policy that places jobs. It is long work where nodes and waiting jobs are many, so it is done
in slices, between which the Dispatcher goes on.
"""

from collections import Counter
from math import prod
from typing import TYPE_CHECKING

from msgspec import structs

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.reasons import Reason
from ray_sched.core.slices import Sliced, whole
from ray_sched.core.views.explanation import CANDIDATE, Explanation, NodeVerdict, Then
from ray_sched.core.views.jobs import job_view
from ray_sched.core.views.sentences import summary, would
from ray_sched.core.views.situation import situation_of
from ray_sched.core.views.verdicts import verdicts_of
from ray_sched.core.views.what_if import what_if

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_TRIES = 3


def explain(brain: "DispatchBrain", job_id: str, now_ms: int, node: str = "") -> Explanation:
    """Why a job is where it is, at one moment. Raises SchedError UNKNOWN_JOB or UNKNOWN_NODE."""
    return whole(explaining(brain, job_id, now_ms, node))


def explaining(brain: "DispatchBrain", job_id: str, now_ms: int, node: str = "") -> Sliced[Explanation]:
    """Why a job is where it is; with a node's name what would have to be otherwise for it to start there.

    If the job moves on meanwhile it is looked at again. Raises SchedError UNKNOWN_JOB for one that is not known (any
    more), UNKNOWN_NODE for a node that is not there.
    """
    for _ in range(_TRIES):
        job = brain.jobs.get(job_id)
        if job is None:
            raise SchedError(
                Code.UNKNOWN_JOB, f"there is no job {job_id[:80]!r}; finished jobs are forgotten after the clean-up age"
            )
        before = (job.status, job.attempt)
        found = yield from explaining_job(brain, job, now_ms, node)
        if before == (job.status, job.attempt):
            break
    return found


def explaining_job(
    brain: "DispatchBrain", job: Job, now_ms: int, node: str = "", *, is_dry: bool = False
) -> Sliced[Explanation]:
    """The same of a job at hand; ``is_dry``: of one that nobody has submitted."""
    if node and node not in brain.node_states:
        raise SchedError(Code.UNKNOWN_NODE, f"there is no node {node[:80]!r}; ray-sched nodes lists them")
    q, candidates = brain.question(job, now_ms), brain.candidates(job.demand)
    view = job_view(job, now_ms)
    because = {name: node_state.because for name, node_state in brain.node_states.items()}
    verdicts = yield from verdicts_of(brain, q, candidates, list(brain.node_states.values()))
    counts = Counter(verdict.reason or CANDIDATE for verdict in verdicts)
    yield
    situation = None
    if job.status is JobStatus.PENDING:
        reasons = {verdict.node: Reason(verdict.reason) for verdict in verdicts if verdict.reason}
        yield
        situation = yield from situation_of(brain, job, q, candidates, reasons, because)
        if node:
            there = brain.node_states.get(node)
            only = (what_if(brain, q, candidates, there)[0],) if there else ()
            situation = structs.replace(situation, otherwise=only, starts=None)
    yield
    if is_dry and situation:
        sentence = would(job, situation, now_ms, brain.policy.place(q, candidates).node_state)
    else:
        sentence = summary(job, situation, now_ms, node)
    yield
    verdicts.sort(key=lambda each: (each.score is None, each.score or 0.0, each.node))
    yield
    return Explanation(
        job=view,
        summary=sentence,
        tier=str(situation.tier) if situation else "",
        counts=dict(counts.most_common()),
        ahead=situation.n_ahead if situation else None,
        starts=situation.starts if situation else None,
        otherwise=situation.otherwise if situation else (),
        nodes=tuple(verdicts),
        then=_then(brain, job, now_ms),
        story=tuple((line.at_ms - job.created_at_ms, line.attempt, line.what) for line in job.story),
    )


def _then(brain: "DispatchBrain", job: Job, now_ms: int) -> Then | None:
    decision = brain.decisions.of(job.job_id)
    if decision is None:
        return None
    names, candidates = decision.considered
    verdicts = [
        NodeVerdict(
            node=node,
            score=round(prod(parts), 4),
            parts={name: round(part, 4) for name, part in zip(names, parts, strict=True)},
        )
        for node, parts in candidates
    ]
    return Then(
        attempt=decision.attempt,
        node=decision.node,
        ago_ms=now_ms - decision.at_ms,
        nodes=tuple(sorted(verdicts, key=lambda each: (each.score or 0.0, each.node))),
    )
