"""Why a job is where it is, as one sentence."""

from ray_sched.core.job import Job, JobStatus
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.reasons import Tier, reasons_text
from ray_sched.core.units import counted, shown_ms
from ray_sched.core.views.explanation import Forecast, WhatIf
from ray_sched.core.views.situation import Situation


def summary(job: Job, situation: Situation | None, now_ms: int, node: str = "") -> str:
    """The sentence. ``situation``: of a job that waits; ``node``: the one that was asked about."""
    if situation is not None:
        return _waits(job, situation, now_ms, node)
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


def _waits(job: Job, situation: Situation, now_ms: int, node: str) -> str:
    parts = [_why(situation)]
    if situation.lost_affinity:
        parts.append(f"{situation.lost_affinity}, where its session was, is not there any more")
    if situation.starts:
        parts.append(starts_sentence(situation.starts))
    parts += otherwise_sentences(situation, node)
    if situation.n_ahead:
        parts.append(f"{counted(situation.n_ahead, 'job comes', 'jobs come')} first")
    if job.spec.deadline_ms or situation.tier not in {Tier.CLIENT_BLOCKED, Tier.STORE_AWAY}:
        parts.append(f"gives up in {shown_ms(max(job.deadline_at_ms - now_ms, 0))}")
    return "; ".join(parts)


def would(job: Job, situation: Situation, now_ms: int, goes_to: NodeState | None) -> str:
    """The same of a job that nobody has submitted; ``goes_to``: where the policy would place it now."""
    if goes_to and not situation.n_ahead and situation.tier is Tier.OTHERS_FIRST:
        return f"would start now on {goes_to.node}"
    return "would wait" + _waits(job, situation, now_ms, "").removeprefix("waits")


def _why(situation: Situation) -> str:
    n_nodes, reasons = len(situation.because), reasons_text(situation.reasons, situation.because)
    match situation.tier:
        case Tier.CLIENT_BLOCKED:
            return "waits for its client, whose event loop is blocked"
        case Tier.STORE_AWAY:
            return "waits for Redis, which does not answer: nothing is given to a node"
        case Tier.NO_NODE:
            return "waits for a node: there is none"
        case Tier.NO_NODE_OFFERS_IT:
            return f"waits for a node that offers it, and of {counted(n_nodes, 'node')} none does: {reasons}"
        case Tier.OTHERS_FIRST:
            return "waits for a node: others come first"
    return f"waits for a node: {reasons}"


def starts_sentence(starts: Forecast) -> str:
    """When it will start, with the spread."""
    if not starts.in_ms:
        return f"there is a slot for it on {starts.node} when it is its turn"
    guess = ", by an assumed speed" if starts.is_guess else ""
    least, most = shown_ms(starts.earliest_ms), shown_ms(starts.latest_ms)
    spread = f" ({least} to {most}{guess})" if least != most else ""
    return f"starts in about {shown_ms(starts.in_ms)}{spread} when a slot on {starts.node} is free"


def otherwise_sentences(situation: Situation, node: str) -> list[str]:
    """What would have to be otherwise: the nearest of it, or all that speaks against the node that was asked about."""
    if node:
        return [_if_sentence(each) for each in situation.otherwise]
    foretold = {str(reason) for reason in ("CAPACITY_FULL",)} if situation.starts else set()
    telling = (each for each in situation.otherwise if not foretold.issuperset(each.reasons))
    return [_if_sentence(each) for each in telling][:1]


def _if_sentence(otherwise: WhatIf) -> str:
    if not otherwise.facts:
        return f"nothing speaks against {otherwise.node}"
    clauses = " and ".join(otherwise.facts)
    if not otherwise.is_enough:
        return f"would not start on {otherwise.node} even if {clauses}"
    when = f"in about {shown_ms(otherwise.in_ms)}" if otherwise.in_ms else "now"
    return f"would start {when} if {clauses}"
