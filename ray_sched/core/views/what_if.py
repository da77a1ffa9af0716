"""What would have to be otherwise for a job to start on a node: found out by asking the policy that places it.

The node's reason is taken away from a twin of it, and the policy is asked again, until nothing speaks against it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ray_sched.core.capability import ASR, AUTO, MT, TTS, Capability, Demand
from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question
from ray_sched.core.reasons import Reason
from ray_sched.core.units import shown_ms
from ray_sched.core.views.explanation import WhatIf

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_MOST_FACTS = 8
_FOR_EVER_MS = 10**9


class _Twin:
    """A node as it might be, and the question as it might be asked."""

    def __init__(self, brain: "DispatchBrain", node_state: NodeState, q: Question) -> None:
        self.brain = brain
        self.really = node_state
        self.node_state = node_state.twin()
        self.q = q
        self.by_itself_in_ms: int | None = 0

    def ends_in(self, in_ms: int | None) -> None:
        """When the fact comes true by itself; None: never."""
        before = self.by_itself_in_ms
        self.by_itself_in_ms = None if in_ms is None or before is None else max(before, in_ms)

    def lease_all(self) -> None:
        """All of its slots may be used."""
        self.node_state.why = None
        self.node_state.lease(self.node_state.total_slots, self.q.now_ms + _FOR_EVER_MS)

    def can(self, **more: object) -> None:
        """It can do more than it can."""
        self.node_state.capability = msgspec.structs.replace(self.node_state.capability, **more)
        self.ends_in(None)


def what_if(
    brain: "DispatchBrain", q: Question, candidates: Candidates, node_state: NodeState
) -> tuple[WhatIf, NodeState]:
    """What would have to be otherwise for the job to start on this node, and the node as it would be then."""
    twin = _Twin(brain, node_state, q)
    reasons: list[str] = []
    facts: list[str] = []
    while len(facts) < _MOST_FACTS:
        only = candidates.but_only([twin.node_state])
        placement = brain.policy.place(twin.q, only, is_explained=True)
        reason = placement.reasons.get(node_state.node)
        if reason is None or str(reason) in reasons[-1:]:
            break
        reasons.append(str(reason))
        facts.append(_CHANGE[reason](twin))
    is_enough = brain.policy.place(twin.q, candidates.but_only([twin.node_state])).node_state is twin.node_state
    found = WhatIf(
        node=node_state.node,
        reasons=tuple(reasons),
        facts=tuple(facts),
        is_enough=is_enough,
        by_itself_in_ms=twin.by_itself_in_ms if is_enough else None,
    )
    return found, twin.node_state


def _ready(twin: _Twin) -> str:
    because = f" ({twin.really.because})" if twin.really.because else ""
    twin.lease_all()
    twin.ends_in(None)
    return f"{twin.really.node} were ready{because}"


def _not_draining(twin: _Twin) -> str:
    twin.lease_all()
    twin.ends_in(None)
    return f"{twin.really.node} were not draining"


def _below_threshold(twin: _Twin) -> str:
    over = f" ({twin.really.because})" if twin.really.because else ""
    twin.lease_all()
    twin.ends_in(None)
    return f"{twin.really.node} were below its threshold{over}"


def _has_its_models(twin: _Twin) -> str:
    until = {name: twin.node_state.unavailable_until_ms.pop(name, 0) for name in twin.q.demand.services}
    left_ms = max(until.values()) - twin.q.now_ms
    twin.ends_in(left_ms)
    names = " and ".join(name for name, at_ms in until.items() if at_ms > twin.q.now_ms)
    return f"the model for {names} were available on {twin.really.node}, which is believed again in {shown_ms(left_ms)}"


def _not_quarantined(twin: _Twin) -> str:
    left_ms = twin.node_state.quarantined_until_ms - twin.q.now_ms
    twin.node_state.quarantined_until_ms = 0
    twin.ends_in(left_ms)
    return f"{twin.really.node} were not in quarantine, which ends in {shown_ms(left_ms)}"


def _not_excluded(twin: _Twin) -> str:
    twin.q = msgspec.structs.replace(twin.q, excluded_node="")
    twin.ends_in(None)
    return f"its last attempt had not failed on {twin.really.node}"


def _willing(twin: _Twin) -> str:
    left_ms = twin.node_state.resting_until_ms - twin.q.now_ms
    twin.node_state.resting_until_ms = 0
    twin.ends_in(left_ms)
    return f"{twin.really.node} had not refused a job, for which it is left alone for {shown_ms(left_ms)}"


def _not_reserved(twin: _Twin) -> str:
    job_id = twin.node_state.reserved_for
    twin.node_state.reserve_for("")
    twin.ends_in(None)
    return f"{twin.really.node} were not kept empty for {job_id}"


def _with_a_slot(twin: _Twin) -> str:
    """A slot without a lease is leased; else an attempt has left its own."""
    node_state = twin.node_state
    if node_state.n_acquired >= node_state.total_slots > 0:
        node_state.release(node_state.attempts()[0])
    twin.lease_all()
    twin.ends_in(None)
    return f"a slot on {twin.really.node} were free"


def _empty(twin: _Twin) -> str:
    for attempt in twin.node_state.attempts():
        twin.node_state.release(attempt)
    twin.ends_in(None)
    return f"nothing else ran on {twin.really.node}"


def _for_its_tenant(twin: _Twin) -> str:
    twin.can(tenant="")
    return f"{twin.really.node} served tenant {twin.q.demand.tenant!r}"


def _with_a_gpu(twin: _Twin) -> str:
    twin.can(has_gpu=True)
    return f"{twin.really.node} had a GPU"


def _offers_the_services(twin: _Twin) -> str:
    missing = sorted(set(twin.q.demand.services) - twin.node_state.capability.services)
    twin.can(**{name: _more(twin.node_state.capability, twin.q.demand, name) for name in missing})
    return f"{twin.really.node} offered {' and '.join(missing)}{_for_what(twin.q.demand, missing)}"


def _for_what(demand: Demand, services: list[str]) -> str:
    return f" of {demand.pair}" if MT in services else ""


def _recognises(twin: _Twin) -> str:
    twin.can(asr=_more(twin.node_state.capability, twin.q.demand, ASR))
    src = twin.q.demand.src
    return f"{twin.really.node} recognised {'which language is spoken' if src == AUTO else src}"


def _translates(twin: _Twin) -> str:
    twin.can(mt=_more(twin.node_state.capability, twin.q.demand, MT))
    return f"{twin.really.node} translated {twin.q.demand.pair}"


def _speaks(twin: _Twin) -> str:
    twin.can(tts=_more(twin.node_state.capability, twin.q.demand, TTS))
    return f"{twin.really.node} spoke {twin.q.demand.tgt}"


def _more(capability: Capability, demand: Demand, service: str) -> tuple[str, ...]:
    """What the capability lists for a service, and what the demand needs of it."""
    sources = demand.candidates or (demand.src,)
    needed = {ASR: (demand.src, *demand.candidates), MT: tuple(f"{src}:{demand.tgt}" for src in sources)}
    return (*dict(capability.lists()).get(service, ()), *needed.get(service, (demand.tgt,)))


_CHANGE: dict[Reason, Callable[[_Twin], str]] = {
    Reason.NOT_READY: _ready,
    Reason.DRAINING: _not_draining,
    Reason.TENANT_MISMATCH: _for_its_tenant,
    Reason.SERVICE_MISSING: _offers_the_services,
    Reason.ASR_LANG_UNSUPPORTED: _recognises,
    Reason.LANG_PAIR_UNSUPPORTED: _translates,
    Reason.TTS_LANG_UNSUPPORTED: _speaks,
    Reason.GPU_REQUIRED: _with_a_gpu,
    Reason.SERVICE_UNAVAILABLE: _has_its_models,
    Reason.QUARANTINED: _not_quarantined,
    Reason.EXCLUDED: _not_excluded,
    Reason.REFUSED_LATELY: _willing,
    Reason.RESOURCE_THRESHOLD: _below_threshold,
    Reason.RESERVED: _not_reserved,
    Reason.NOT_EMPTY: _empty,
    Reason.CAPACITY_FULL: _with_a_slot,
}
"""Takes one reason away from the twin; returns the fact that is otherwise then, as a clause after *if*."""
