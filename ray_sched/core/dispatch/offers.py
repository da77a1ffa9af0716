"""What pools offer: nodes come and go, and their jobs with them."""

from collections.abc import Iterable

from ray_sched.core.dispatch import poison
from ray_sched.core.dispatch.attempts import Attempts
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.effects import (
    AnswerPool,
    Log,
)
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.node_table import RemovedNode


class Offers:
    """Hears pools."""

    def __init__(self, state: DispatchState, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def handle_offer(self, offer: PoolOffer) -> None:
        """Take over what a pool says of its nodes."""
        change = self._state.node_table.handle_offer(offer, self._state.now_ms)
        self.lose_nodes(change.removed)
        for node_state in change.added:
            self._adopt(node_state)
        acquired = {node_state.node: node_state.n_acquired for node_state in self._state.node_table.of_pool(offer.pool)}
        self._state.effects.append(AnswerPool(LeaseReceipt(acquired=acquired)))

    def _adopt(self, node_state: NodeState) -> None:
        """Attempts that an earlier life of the Dispatcher put on this node hold a slot there, or are lost with it."""
        for job in self.jobs_on(node_state.node):
            if job.incarnation == node_state.incarnation and job.speech:
                continue
            expected_ms = self._state.expected_ms(job)
            if job.incarnation == node_state.incarnation and node_state.adopt((job.job_id, job.attempt), expected_ms):
                job.agent = node_state.agent
                if job.is_exclusive:
                    node_state.reserve_for(job.job_id)
            else:
                self._attempts.requeue(job, Code.NODE_LOST, "the node came back as a new incarnation")
        for job in self._state.fenced_on.get(node_state.node, {}).values():
            for fenced in job.fenced:
                attempt = (job.job_id, fenced.attempt)
                if (fenced.node, fenced.incarnation) == (node_state.node, node_state.incarnation):
                    if not node_state.holds(attempt):
                        node_state.adopt(attempt, self._state.expected_ms(job))
                    self._attempts.stop(node_state, attempt)

    def lose_nodes(self, lost: Iterable[RemovedNode]) -> None:
        """Nodes are lost, and their attempts with them."""
        for gone in lost:
            self._lose_node(gone.node_state, gone.why, has_died=gone.has_died)

    def _lose_node(self, node_state: NodeState, why: str, *, has_died: bool) -> None:
        """A node is lost: all that is on it goes back to pending; what ran there when its agent died is suspected."""
        self._attempts.forget_stops(node_state)
        lost = [job for job in self.jobs_on(node_state.node) if job.incarnation == node_state.incarnation]
        for job in lost:
            if has_died and job.status is JobStatus.PROCESSING and not job.speech:
                poison.agent_died(job, was_alone=node_state.n_acquired == 1)
            self._attempts.requeue(job, Code.NODE_LOST, why)
        if lost:
            self._state.effects.append(Log(f"{node_state.node}: {why}; {len(lost)} jobs back to pending"))

    def jobs_on(self, node: str) -> list[Job]:
        """Jobs assigned to a node, running there, or with speech there."""
        return list(self._state.on_node.get(node, {}).values())
