"""A policy of a user's own, held to its contract: what it does wrong costs its opinion and never the scheduler."""

from collections.abc import Callable

from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.policy import DEFAULT_POLICY, Placement, PlacementPolicy
from ray_sched.core.placement.question import Question


class GuardedPolicy:
    """Asks a policy, and the default one where that raises or names a node that has no free slot for the job."""

    def __init__(self, policy: PlacementPolicy, report: Callable[[str], None]) -> None:
        """``report`` is told one sentence each time that the default policy had to decide instead."""
        self._policy = policy
        self._report = report

    def place(self, q: Question, candidates: Candidates, *, is_explained: bool = False) -> Placement:
        """See PlacementPolicy."""
        try:
            placement = self._policy.place(q, candidates, is_explained=is_explained)
            wrong = _what_is_wrong(placement, candidates)
        # whatever code of somebody else's may raise
        except Exception as error:  # noqa: BLE001  # see above
            wrong = f"raised {type(error).__name__}: {error}"
        if not wrong:
            return placement
        self._report(f"the placement policy {wrong}; the default one decided for job {q.job_id} instead")
        return DEFAULT_POLICY.place(q, candidates, is_explained=is_explained)


def _what_is_wrong(placement: object, candidates: Candidates) -> str:
    if not isinstance(placement, Placement):
        return f"answered with {type(placement).__name__} instead of a Placement"
    found = placement.node_state
    if found is not None and not any(found is node_state for node_state in candidates.free()):
        return f"chose {getattr(found, 'node', found)!r}, which has no free slot for the job"
    return ""
