"""What pools offer: nodes come and go, and their jobs with them."""

from collections.abc import Iterable

from ray_sched.core.dispatch import attempts, poison
from ray_sched.core.dispatch.history import What
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.effects import AnswerPool
from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.node_table import RemovedNode
from ray_sched.core.units import counted


def handle(state: DispatchState, step: Step, offer: PoolOffer) -> None:
    """Handle an offer: nodes come, go and change. Answers how many slots are acquired on each of the pool."""
    change = state.node_table.handle_offer(offer, step.now_ms)
    lose_nodes(state, step, [*change.removed, *change.unknown_ended])
    for node_state in change.changed:
        step.record_node(node_state.node, What.NODE_CHANGED, _how_it_is(node_state))
    for node_state in change.added:
        step.record_node(node_state.node, What.NODE_JOINED, f"joined {node_state.pool}: {_how_it_is(node_state)}")
        _adopt_running(state, step, node_state)
        _adopt_fenced(state, step, node_state)
    acquired = {node_state.node: node_state.n_acquired for node_state in state.node_table.of_pool(offer.pool)}
    step.answer(AnswerPool(LeaseReceipt(acquired=acquired)))


def _adopt_running(state: DispatchState, step: Step, node_state: NodeState) -> None:
    """Attempts that an earlier life of the Dispatcher put on this node hold a slot there, or are lost with it."""
    for job in state.index.on_node(node_state.node):
        is_there = job.incarnation == node_state.incarnation
        is_of_before = job.incarnation > node_state.incarnation  # the offer was late; a newer one of that node follows
        if is_of_before or (is_there and job.speech):
            continue
        if is_there and node_state.adopt((job.job_id, job.attempt), state.expected_ms(job)):
            job.agent = node_state.agent
            if job.is_exclusive:
                node_state.reserve_for(job.job_id)
        else:
            attempts.requeue(state, step, job, Code.NODE_LOST, "the node came back as a new incarnation")


def _adopt_fenced(state: DispatchState, step: Step, node_state: NodeState) -> None:
    """Attempts that were to be stopped and may still run on this node hold a slot there until they have ended."""
    for job in state.index.fenced_on(node_state.node):
        for fenced in job.fenced:
            attempt = (job.job_id, fenced.attempt)
            if (fenced.node, fenced.incarnation) == (node_state.node, node_state.incarnation):
                if not node_state.holds(attempt):
                    node_state.adopt(attempt, state.expected_ms(job))
                state.stop(step, node_state, attempt)


def _how_it_is(node_state: NodeState) -> str:
    because = f" ({node_state.because})" if node_state.because else ""
    return f"{node_state.why}{because}" if node_state.why else f"ready with {counted(node_state.total_slots, 'slot')}"


def lose_nodes(state: DispatchState, step: Step, lost: Iterable[RemovedNode]) -> None:
    """Nodes are lost: all that is on them goes back to pending; what ran where an agent died is suspected."""
    for gone in lost:
        _lose_node(state, step, gone)


def _lose_node(state: DispatchState, step: Step, gone: RemovedNode) -> None:
    node_state = gone.node_state
    step.record_node(node_state.node, What.NODE_LEFT, gone.why)
    jobs = [job for job in state.index.on_node(node_state.node) if job.incarnation == node_state.incarnation]
    for job in jobs:
        if gone.has_died and job.status is JobStatus.PROCESSING and not job.speech:
            poison.agent_died(job, was_alone=node_state.n_acquired == 1)
        attempts.requeue(state, step, job, Code.NODE_LOST, gone.why)
    if jobs:
        step.log(f"{node_state.node}: {gone.why}; {len(jobs)} jobs back to pending", node_state.node)
