"""Reservations: until a node is empty nothing but one exclusive job may be assigned to it."""

from ray_sched.core.placement.node_state import NodeState


class Reservations:
    """Which node is reserved for which waiting job: at most one for each."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def reserve(self, job_id: str, node_state: NodeState | None) -> None:
        """Reserve this node for a job instead of the one before; None: no node at all."""
        reserved = self._nodes.pop(job_id, None)
        if reserved and reserved is not node_state and reserved.reserved_for == job_id:
            reserved.reserve_for("")
        if node_state:
            node_state.reserve_for(job_id)
            self._nodes[job_id] = node_state

    def give_up(self, job_id: str) -> None:
        """No node is reserved for a job any more."""
        self.reserve(job_id, None)
