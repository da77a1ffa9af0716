"""A waiting job's situation: why it waits, what is ahead of it, when it will start, and what could be otherwise."""

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from ray_sched.core.capability import Demand
from ray_sched.core.job import Job
from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question
from ray_sched.core.queue.ahead import ahead_of
from ray_sched.core.reasons import TIER_OF, Reason, Tier, tier_of
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explanation import Forecast, WhatIf
from ray_sched.core.views.forecast import foresee
from ray_sched.core.views.what_if import what_if

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_TRIED_PER_REASON = 2
_SHOWN = 3
_HELD_UP = {Tier.STORE_AWAY: "Redis answered", Tier.CLIENT_BLOCKED: "its client answered"}
"""What holds a job up whatever the nodes are, and what would be otherwise."""


class Situation(Struct, frozen=True, kw_only=True):
    """All that was found out of a waiting job, for who puts it into a sentence."""

    tier: Tier
    reasons: dict[str, Reason]
    because: dict[str, str]
    """Node to the words of its pool."""
    n_ahead: int
    starts: Forecast | None
    otherwise: tuple[WhatIf, ...]
    lost_affinity: str
    """The node where its session was, which is not there any more."""


def situation_of(
    brain: "DispatchBrain",
    job: Job,
    q: Question,
    candidates: Candidates,
    reasons: dict[str, Reason],
    because: dict[str, str],
) -> Sliced[Situation]:
    """The situation of a job against which, at each node, there are these ``reasons``; ``because``: of every node."""
    tier = tier_of(Counter(reasons.values()), len(because))
    if brain.waiting.is_paused(job.client_id):
        tier = Tier.CLIENT_BLOCKED
    elif brain.is_store_away:
        tier = Tier.STORE_AWAY
    ahead = yield from ahead_of(brain.waiting, job, _Rivals(brain, candidates))
    yield
    usable = _usable(brain, because, reasons)
    yield
    starts = None
    if tier in {Tier.ALL_BUSY, Tier.OTHERS_FIRST} and not q.is_exclusive:
        starts = yield from foresee(brain, job, usable, ahead, q.now_ms)
    if tier in _HELD_UP:
        otherwise = _if_not_held_up(brain, q, candidates, tier, ahead)
    else:
        tried = yield from _otherwise(brain, q, candidates, reasons, tier, len(ahead))
        otherwise = yield from _foreseen(brain, job, tried, ahead, usable, q.now_ms)
    return Situation(
        tier=tier,
        reasons=reasons,
        because=because,
        n_ahead=len(ahead),
        starts=starts,
        otherwise=otherwise,
        lost_affinity=q.affine_node if q.affine_node not in brain.node_states else "",
    )


class _Rivals:
    """Whether a demand can be served by one of the nodes that can serve the job's."""

    def __init__(self, brain: "DispatchBrain", candidates: Candidates) -> None:
        self._brain = brain
        self._groups = {id(group) for group in candidates.groups}

    def __call__(self, demand: Demand) -> bool:
        return any(id(group) in self._groups for group in self._brain.candidates(demand).groups)


def _usable(brain: "DispatchBrain", nodes: Iterable[str], reasons: dict[str, Reason]) -> list[NodeState]:
    """The nodes that will take the job as soon as it is its turn and a slot is free."""
    return [
        node_state
        for node in nodes
        if (node_state := brain.node_states.get(node))
        and (node not in reasons or TIER_OF[reasons[node]] is Tier.ALL_BUSY)
    ]


def _if_not_held_up(
    brain: "DispatchBrain", q: Question, candidates: Candidates, tier: Tier, ahead: list[int]
) -> tuple[WhatIf, ...]:
    """What the policy would do now if the one fact that holds the job up were otherwise."""
    found = brain.policy.place(q, candidates).node_state
    if found is None or sum(node_state.n_free for node_state in candidates.free()) <= len(ahead):
        return ()
    return (WhatIf(node=found.node, reasons=(str(tier),), facts=(_HELD_UP[tier],), is_enough=True),)


def _otherwise(
    brain: "DispatchBrain", q: Question, candidates: Candidates, reasons: dict[str, Reason], tier: Tier, n_ahead: int
) -> Sliced[list[tuple[WhatIf, NodeState]]]:
    """Of each reason the nodes that have most room, tried out; the fewest facts first, and what people can do soonest.

    Nodes that do not offer what the job needs are a matter of configuration: they are asked only if all are such.
    """
    by_reason: dict[Reason, list[NodeState]] = {}
    for node, reason in reasons.items():
        node_state = brain.node_states.get(node)
        is_worth_it = tier is Tier.NO_NODE_OFFERS_IT or TIER_OF[reason] is not Tier.NO_NODE_OFFERS_IT
        if node_state and is_worth_it and reason is not Reason.CAPACITY_FULL:  # of that the forecast tells
            by_reason.setdefault(reason, []).append(node_state)
    found: list[tuple[tuple[bool, int, int, str], WhatIf, NodeState]] = []
    for reason, node_states in by_reason.items():
        yield
        few = nsmallest(_TRIED_PER_REASON, node_states, key=lambda each: (_n_free_then(each) <= n_ahead, each.node))
        for node_state in few:
            tried, twin = what_if(brain, q, candidates, node_state)
            if tried.is_enough:
                key = (twin.n_free <= n_ahead, len(tried.facts), _EASE.index(reason), node_state.node)
                found.append((key, tried, twin))
    found.sort(key=lambda each: each[0])
    return [(tried, twin) for _, tried, twin in found[:_SHOWN]]


def _foreseen(  # what was found out of the job so far
    brain: "DispatchBrain",
    job: Job,
    tried: list[tuple[WhatIf, NodeState]],
    ahead: list[int],
    usable: list[NodeState],
    now_ms: int,
) -> Sliced[tuple[WhatIf, ...]]:
    """The same, with the time that those ahead of the job would take if there are too many for the node's slots."""
    nearest: list[WhatIf] = []
    for each, twin in tried:
        in_ms = 0
        if twin.n_free <= len(ahead) and not nearest:  # the others are not in the sentence
            others = [node_state for node_state in usable if node_state.node != twin.node]
            starts = yield from foresee(brain, job, [*others, twin], ahead, now_ms)
            in_ms = starts.in_ms if starts else 0
        nearest.append(structs.replace(each, in_ms=in_ms))
    return tuple(nearest)


def _n_free_then(node_state: NodeState) -> int:
    """How many slots the node would have if all were leased that no job is on."""
    return node_state.total_slots - node_state.n_acquired


_EASE = (
    Reason.REFUSED_LATELY,
    Reason.DRAINING,
    Reason.EXCLUDED,
    Reason.RESOURCE_THRESHOLD,
    Reason.QUARANTINED,
    Reason.SERVICE_UNAVAILABLE,
    Reason.NOT_READY,
    Reason.RESERVED,
    Reason.CAPACITY_FULL,
    Reason.NOT_EMPTY,
    Reason.TENANT_MISMATCH,
    Reason.GPU_REQUIRED,
    Reason.TTS_LANG_UNSUPPORTED,
    Reason.LANG_PAIR_UNSUPPORTED,
    Reason.ASR_LANG_UNSUPPORTED,
    Reason.SERVICE_MISSING,
)
"""What people can change, the easiest first."""
