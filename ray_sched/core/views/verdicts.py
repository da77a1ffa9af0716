"""What the placement policy says of each node for one job."""

from typing import TYPE_CHECKING

from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question
from ray_sched.core.reasons import SENTENCE, Reason
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explanation import NodeVerdict

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_AT_ONCE = 40
"""Nodes that the policy is asked of in one slice."""
_SAID_BY_POOL = frozenset({Reason.NOT_READY, Reason.RESOURCE_THRESHOLD})
"""Reasons for which a node's pool has words of its own."""


def verdicts_of(
    brain: "DispatchBrain", q: Question, candidates: Candidates, node_states: list[NodeState]
) -> Sliced[list[NodeVerdict]]:
    """The verdicts on these nodes, in their order."""
    found = []
    for first in range(0, len(node_states), _AT_ONCE):
        few = node_states[first : first + _AT_ONCE]
        placement = brain.policy.place(q, candidates.but_only(few, has_free=False), is_explained=True)
        for node_state in few:
            node, reason = node_state.node, placement.reasons.get(node_state.node)
            score = placement.scores.get(node)
            if reason:
                said = f": {node_state.because}" if node_state.because and reason in _SAID_BY_POOL else ""
                found.append(NodeVerdict(node=node, reason=reason, sentence=SENTENCE[reason] + said))
            elif score:
                parts = {name: round(part, 4) for name, part in score.parts.items()}
                found.append(NodeVerdict(node=node, score=round(score.total, 4), parts=parts))
            else:
                found.append(NodeVerdict(node=node, sentence="the placement policy gives no reasons and no scores"))
        yield
    return found
