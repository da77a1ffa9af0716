"""Scores: small functions that say how good a node is for a job, smaller is better; a policy multiplies them."""

from collections.abc import Callable

from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.question import Question

Score = Callable[[NodeState, Question], float]


def expected_completion_s(node_state: NodeState, q: Question) -> float:
    """Seconds until this job would be done on a free slot there, if it began now: its audio by the learned speed.

    A model that is unloaded has to be loaded first. What runs on the node's other slots does not have to end first: the
    learned speed was measured beside such runs.
    """
    return node_state.loads_in_ms / 1000 + q.audio_ms / 1000 / q.speeds.speed(node_state.node, q.pair)


def affinity(node_state: NodeState, q: Question) -> float:
    """The session's own node counts as a little faster than it is."""
    return q.rules.affinity_discount if node_state.node == q.affine_node else 1.0


def occupancy(node_state: NodeState, q: Question) -> float:
    """A node counts as a little slower the more of its slots are busy: of equal nodes the least loaded is taken."""
    return 1.0 + q.rules.busy_penalty * node_state.busy_part


def slow_start(node_state: NodeState, q: Question) -> float:
    """A newcomer counts as slower for what is beyond its share: it may be cold, or not as fast as the others."""
    return q.rules.newcomer_penalty if node_state.is_beyond_its_share else 1.0


SCORES: tuple[Score, ...] = (expected_completion_s, affinity, occupancy, slow_start)


def expected_empty_s(node_state: NodeState, q: Question) -> float:
    """Seconds of work left on a node by the learned speed of the job's pair: the smallest will be empty first."""
    return node_state.in_flight_ms / 1000 / q.speeds.speed(node_state.node, q.pair)
