"""The Pool's brain: which slots are leased, and why not the others."""

import pytest

from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.messages.registry_pool import NodeView, PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import PoolRules
from tests.support.builders import ENGLISH, only


def a_view(status: NodeStatus = NodeStatus.READY, load: Load | None = None) -> NodeView:
    return NodeView(
        node="node-a", incarnation=3, agent="agent:node-a", status=status, slots=4, load=load or Load(), running=1
    )


def some_members(*views: NodeView, number: int = 1, epoch: int = 1) -> PoolMembers:
    return PoolMembers(pool="p", epoch=epoch, number=number, capability=ENGLISH, nodes=views)


def offered(*views: NodeView, rules: PoolRules | None = None) -> PoolOffer:
    offer = PoolBrain("p", 9, rules or PoolRules()).handle_members(some_members(*views))
    assert offer is not None
    return offer


def test_all_slots_of_a_ready_node_are_leased_for_the_term() -> None:
    offer = offered(a_view())
    node = only(offer.nodes)
    assert (node.node, node.incarnation, node.slots, node.total_slots, node.why) == ("node-a", 3, 4, 4, None)
    assert (offer.pool, offer.epoch, offer.term_ms, offer.capability) == ("p", 9, 10_000, ENGLISH)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (NodeStatus.REGISTERING, Reason.NOT_READY),
        (NodeStatus.DEGRADED, Reason.NOT_READY),
        (NodeStatus.SUSPECT, Reason.NOT_READY),
        (NodeStatus.LOST, Reason.NOT_READY),
        (NodeStatus.GONE, Reason.NOT_READY),
        (NodeStatus.DRAINING, Reason.DRAINING),
    ],
)
def test_no_slot_of_any_other_node_is_leased(status: NodeStatus, why: Reason) -> None:
    node = only(offered(a_view(status)).nodes)
    assert (node.slots, node.total_slots, node.why) == (0, 4, why)


@pytest.mark.parametrize("what", ["cpu", "memory", "gpu", "gpu_memory"])
def test_a_node_at_a_threshold_gets_no_new_work_and_one_below_does(what: str) -> None:
    at, below = Load(**{what: 85.0}), Load(**{what: 84.9})
    assert (only(offered(a_view(load=at)).nodes).slots, only(offered(a_view(load=at)).nodes).why) == (
        0,
        Reason.RESOURCE_THRESHOLD,
    )
    assert only(offered(a_view(load=below)).nodes).slots == 4


def test_a_threshold_of_101_is_never_reached() -> None:
    rules = PoolRules(cpu_threshold_percent=101)
    assert only(offered(a_view(load=Load(cpu=100.0)), rules=rules).nodes).why is None


def test_an_old_word_of_the_registry_changes_nothing() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    assert pool.handle_members(some_members(a_view(NodeStatus.DRAINING), number=2)) is not None
    assert pool.handle_members(some_members(a_view(), number=2)) is None
    assert pool.handle_members(some_members(a_view(), number=1)) is None
    assert pool.nodes["node-a"].status is NodeStatus.DRAINING
    assert pool.handle_members(some_members(a_view(), number=1, epoch=2)) is not None, "the Registry was restarted"


def test_what_is_spent_is_told_with_the_word_that_the_dispatcher_knew_then() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    first, second, third = [pool.handle_members(some_members(a_view(), number=number)) for number in (1, 2, 3)]
    assert first is not None
    assert second is not None
    assert third is not None
    pool.handle_receipt(second, LeaseReceipt(spent={"node-a": 2}))
    assert pool.spent == SlotsAcquired(epoch=1, number=2, spent={"node-a": 2})
    pool.handle_receipt(first, LeaseReceipt(spent={"node-a": 1}))
    assert pool.spent.number == 2, "an old answer changes nothing"
    pool.handle_receipt(third, LeaseReceipt(spent={}))
    assert pool.spent == SlotsAcquired(epoch=1, number=3, spent={})
