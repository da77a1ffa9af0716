"""The policies that the settings can name besides the default one.

They differ in their scores alone: every filter counts for all of them, so none sends a job where it cannot run.
"""

import zlib
from collections.abc import Mapping

from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import DEFAULT_POLICY, PlacementPolicy, RankingPolicy
from ray_sched.core.placement.question import Question
from ray_sched.core.placement.scores import expected_completion_s, slow_start

_DRAWS = 2**32


def n_in_flight(node_state: NodeState, _q: Question) -> float:
    """One more than the jobs on the node's slots, so that the node's other scores count on an empty one, too."""
    return 1.0 + node_state.n_acquired


def chance(node_state: NodeState, q: Question) -> float:
    """A number from 0 to 1 that the attempt's and the node's names decide: even over nodes, the same if replayed."""
    return zlib.crc32(f"{q.tie_key} {node_state.node}".encode()) / _DRAWS


LEAST_IN_FLIGHT = RankingPolicy(scores=(n_in_flight, slow_start), is_sampled=False)
"""The node that has the fewest jobs, whatever its speed: what most balancers do."""
FASTEST_FREE = RankingPolicy(scores=(expected_completion_s,))
"""The fastest node for the pair that has a free slot, whatever else runs there and wherever the session was."""
RANDOM = RankingPolicy(scores=(chance,), is_sampled=False)
"""Any free node, each as likely as the other: a yardstick."""

POLICIES: Mapping[str, PlacementPolicy] = {
    "expected_completion": DEFAULT_POLICY,
    "least_in_flight": LEAST_IN_FLIGHT,
    "fastest_free": FASTEST_FREE,
    "random": RANDOM,
}
"""The policies by the name that ``selection.policy`` gives."""
