"""The Pool's brain: which slots are leased, and why not the others."""

import pytest
from msgspec import structs

from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.messages.registry_pool import NodeView, PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import PoolRules
from tests.support.builders import ENGLISH, only


def a_view(status: NodeStatus = NodeStatus.READY, load: Load | None = None) -> NodeView:
    return NodeView(node="node-a", incarnation=3, agent="agent:node-a", status=status, slots=4, load=load or Load())


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


def test_the_offer_of_a_node_at_a_threshold_says_which() -> None:
    over = only(offered(a_view(load=Load(memory=92.6))).nodes)
    assert (over.why, over.because) == (Reason.RESOURCE_THRESHOLD, "memory at 93 %, limit 85 %")
    ill = structs.replace(a_view(NodeStatus.DEGRADED, Load(memory=92.6)), why="its engine is broken")
    assert only(offered(ill).nodes).because == "its engine is broken"


def test_a_threshold_of_101_is_never_reached() -> None:
    rules = PoolRules(cpu_threshold_percent=101)
    assert only(offered(a_view(load=Load(cpu=100.0)), rules=rules).nodes).why is None


def test_members_that_are_not_newer_than_the_last_ones_change_nothing() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    assert pool.handle_members(some_members(a_view(), epoch=0)) is not None, "the first ones are new whatever they say"
    assert pool.handle_members(some_members(a_view(NodeStatus.DRAINING), number=2)) is not None
    assert pool.handle_members(some_members(a_view(), number=2)) is None
    assert pool.handle_members(some_members(a_view(), number=1)) is None
    assert pool.nodes["node-a"].status is NodeStatus.DRAINING
    assert pool.handle_members(some_members(a_view(), number=1, epoch=2)) is not None, "the Registry was restarted"


def test_acquired_slots_are_told_with_the_version_of_the_members_that_the_dispatcher_knew_then() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    first, second, third = [pool.handle_members(some_members(a_view(), number=number)) for number in (1, 2, 3)]
    assert first is not None
    assert second is not None
    assert third is not None
    pool.handle_receipt(second, LeaseReceipt(acquired={"node-a": 2}))
    assert pool.acquired == SlotsAcquired(epoch=1, number=2, slots={"node-a": 2})
    pool.handle_receipt(first, LeaseReceipt(acquired={"node-a": 1}))
    assert pool.acquired.number == 2, "an old answer changes nothing"
    pool.handle_receipt(third, LeaseReceipt(acquired={}))
    assert pool.acquired == SlotsAcquired(epoch=1, number=3, slots={})


@pytest.mark.parametrize(
    ("rules", "what", "others"),
    [
        (PoolRules(cpu_threshold_percent=50.0), "cpu", Load(memory=84.9, gpu=84.9, gpu_memory=84.9)),
        (PoolRules(memory_threshold_percent=50.0), "memory", Load(cpu=84.9, gpu=84.9, gpu_memory=84.9)),
        (PoolRules(gpu_threshold_percent=50.0), "gpu", Load(cpu=84.9, memory=84.9)),
        (PoolRules(gpu_threshold_percent=50.0), "gpu_memory", Load(cpu=84.9, memory=84.9)),
    ],
)
def test_each_threshold_is_a_rule_of_its_own(rules: PoolRules, what: str, others: Load) -> None:
    assert only(offered(a_view(load=Load(**{what: 50.0})), rules=rules).nodes).why is Reason.RESOURCE_THRESHOLD
    assert only(offered(a_view(load=Load(**{what: 49.9})), rules=rules).nodes).why is None
    assert only(offered(a_view(load=others), rules=rules).nodes).why is None


def test_how_a_node_is_counts_before_how_busy_it_is() -> None:
    view = a_view(NodeStatus.DRAINING, load=Load(cpu=99.0))
    assert only(offered(view).nodes).why is Reason.DRAINING


def test_what_became_of_a_node_is_passed_on_in_at_most_a_thousand_characters() -> None:
    view = structs.replace(a_view(NodeStatus.LOST), has_died=True, why="x" * 1_001)
    node = only(offered(view).nodes)
    assert (node.status, node.has_died, node.because) == (NodeStatus.LOST, True, "x" * 1_000)


def test_offers_are_numbered_from_one_on() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    numbers = [offer.number for number in (1, 2, 3) if (offer := pool.handle_members(some_members(number=number)))]
    assert numbers == [1, 2, 3]


def test_a_receipt_for_an_offer_that_was_never_made_changes_nothing() -> None:
    pool = PoolBrain("p", 9, PoolRules())
    offer = pool.handle_members(some_members(a_view()))
    assert offer is not None
    pool.handle_receipt(structs.replace(offer, number=7), LeaseReceipt(acquired={"node-a": 2}))
    assert pool.acquired == SlotsAcquired(epoch=0, number=0, slots={})
