"""The table of nodes: what offers of pools change in it."""

import pytest

from ray_sched.core.capability import Capability
from ray_sched.core.messages.pool_dispatcher import NodeOffer, PoolOffer
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.placement.node_table import NodeTable
from ray_sched.core.placement.policy import DEFAULT_POLICY
from ray_sched.core.placement.speeds import UNKNOWN_CLASS, SpeedBook
from ray_sched.core.reasons import Reason
from tests.support.builders import ENGLISH, a_node, an_offer, only
from tests.support.placement import DEMAND, RULES, a_question

GERMAN = Capability(engine="echo", asr=("de",))


class Pools:
    """A table, and pools whose offers arrive in whatever order a test says."""

    def __init__(self) -> None:
        self.speeds = SpeedBook(RULES)
        self.table = NodeTable(self.speeds)

    def handle(self, offer: PoolOffer, now_ms: int = 0) -> tuple[list[tuple[str, int, str]], list[tuple[str, int]]]:
        """Node, incarnation and reason of what the offer removes, node and incarnation of what it adds."""
        change = self.table.handle_offer(offer, now_ms)
        removed = [(gone.node_state.node, gone.node_state.incarnation, gone.why) for gone in change.removed]
        return removed, [(node_state.node, node_state.incarnation) for node_state in change.added]

    def offer(self, *nodes: NodeOffer, number: int, epoch: int = 1, pool: str = "pool-1") -> list[str]:
        """The names of the nodes in the table after an offer."""
        self.handle(an_offer(*nodes, number=number, epoch=epoch, pool=pool))
        return sorted(self.table.by_node)


def test_an_offer_adds_nodes_and_their_leases() -> None:
    pools = Pools()
    assert pools.handle(an_offer(a_node("a", slots=2), number=1, term_ms=500), now_ms=1_000) == ([], [("a", 1)])
    node_state = pools.table.by_node["a"]
    assert (node_state.n_free, node_state.n_leased, node_state.total_slots, node_state.agent) == (2, 2, 2, "agent:a")
    assert (node_state.pool, node_state.capability, node_state.why) == ("pool-1", ENGLISH, None)
    assert (node_state.term_ends_at_ms, pools.table.n_leased) == (1_500, 2)


@pytest.mark.parametrize(("epoch", "number"), [(2, 5), (2, 4), (1, 9)])
def test_an_offer_that_is_not_newer_than_the_last_one_of_its_pool_changes_nothing(epoch: int, number: int) -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=5, epoch=2)
    assert pools.handle(an_offer(a_node("b"), number=number, epoch=epoch), now_ms=9) == ([], [])
    assert sorted(pools.table.by_node) == ["a"]


@pytest.mark.parametrize(("epoch", "number"), [(2, 6), (3, 1)])
def test_an_offer_with_a_greater_number_or_of_a_later_epoch_is_newer(epoch: int, number: int) -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=5, epoch=2)
    assert pools.offer(a_node("b"), number=number, epoch=epoch) == ["b"]


def test_pools_count_their_offers_each_for_itself() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=5)
    assert pools.offer(a_node("b"), number=1, pool="pool-2") == ["a", "b"]


def test_a_node_that_an_offer_leaves_out_has_left_its_pool() -> None:
    pools = Pools()
    pools.offer(a_node("a"), a_node("b"), number=1)
    assert pools.handle(an_offer(a_node("b"), number=2)) == ([("a", 1, "the node left its pool")], [])
    assert (sorted(pools.table.by_node), pools.table.n_leased) == (["b"], 2)


@pytest.mark.parametrize("status", [NodeStatus.LOST, NodeStatus.GONE])
def test_a_node_that_has_ended_is_removed_once_and_never_added(status: NodeStatus) -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=1)
    ended = a_node("a", slots=0, status=status, has_died=True, because="signal 9")
    removed = only(pools.table.handle_offer(an_offer(ended, number=2), 0).removed)
    assert (removed.why, removed.has_died) == (f"the node is {status}: signal 9", True)
    assert pools.handle(an_offer(ended, number=3)) == ([], [])
    assert pools.table.by_node == {}


def test_a_node_that_was_drained_has_nothing_to_say_of_it() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=1)
    removed = only(pools.table.handle_offer(an_offer(a_node("a", status=NodeStatus.GONE), number=2), 0).removed)
    assert (removed.why, removed.has_died) == ("the node is gone", False)


def test_a_draining_node_keeps_its_place_and_its_attempts() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=1)
    pools.table.by_node["a"].acquire(("j", 1), 10)
    draining = a_node("a", slots=0, total_slots=2, status=NodeStatus.DRAINING, why=Reason.DRAINING)
    assert pools.handle(an_offer(draining, number=2)) == ([], [])
    node_state = pools.table.by_node["a"]
    assert (node_state.n_free, node_state.n_acquired, node_state.why) == (0, 1, Reason.DRAINING)


def test_a_new_incarnation_replaces_the_one_before_and_an_old_one_changes_nothing() -> None:
    pools = Pools()
    pools.offer(a_node("a", incarnation=2), number=1)
    assert pools.handle(an_offer(a_node("a", incarnation=1, slots=7), number=2)) == ([], [])
    assert pools.table.by_node["a"].n_leased == 2
    removed, added = pools.handle(an_offer(a_node("a", incarnation=3), number=3))
    assert removed == [("a", 2, "the node came back as a new incarnation")]
    assert added == [("a", 3)]
    assert pools.table.n_leased == 2


def test_a_node_that_changes_its_capability_keeps_its_leases_in_another_group() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=1)
    node_state = pools.table.by_node["a"]
    assert pools.handle(an_offer(a_node("a"), number=2, capability=GERMAN)) == ([], [])
    assert (pools.table.by_node["a"], pools.table.n_leased) == (node_state, 2)
    assert not pools.table.groups.is_served(DEMAND)


def test_a_node_that_moves_to_another_pool_is_not_missed_by_the_first() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=1)
    assert pools.handle(an_offer(a_node("a"), number=1, pool="pool-2")) == ([], [])
    assert pools.handle(an_offer(number=2)) == ([], [])
    assert [node_state.node for node_state in pools.table.of_pool("pool-2")] == ["a"]
    assert pools.table.of_pool("pool-1") == []


def test_a_closed_pool_takes_its_nodes_with_it_and_a_late_offer_brings_none_back() -> None:
    pools = Pools()
    pools.offer(a_node("a"), number=3)
    pools.offer(a_node("b"), number=3, pool="pool-2")
    assert [(gone.node_state.node, gone.why) for gone in pools.table.close_pool("pool-1")] == [
        ("a", "its pool is closed")
    ]
    assert pools.offer(a_node("a"), number=3) == ["b"]


def test_a_node_is_in_the_speed_class_of_what_is_known_of_it() -> None:
    pools = Pools()
    pools.offer(a_node("a"), a_node("b"), number=1)
    assert {node_state.speed_class for node_state in pools.table.by_node.values()} == {UNKNOWN_CLASS}
    pools.speeds.learn("a", "en:en", 1_000, 1_000)
    pools.speeds.learn("b", "en:en", 4_000, 1_000)
    pools.speeds.learn("c", "en:en", 250, 1_000)
    pools.offer(a_node("a"), a_node("b"), a_node("c"), number=2)
    assert {node: node_state.speed_class for node, node_state in pools.table.by_node.items()} == {
        "a": 0,
        "b": 2,
        "c": -2,
    }
    pools.offer(a_node("a", incarnation=2), number=3)
    assert pools.table.by_node["a"].speed_class == 0, "a new incarnation is as fast as the one before"


def test_a_node_that_comes_to_others_that_have_run_begins_slowly_and_the_first_ones_do_not() -> None:
    pools = Pools()
    pools.offer(a_node("a", slots=2), a_node("b", slots=2), number=1)
    shares = {name: node_state.share for name, node_state in pools.table.by_node.items()}
    assert shares == {"a": None, "b": None}
    pools.table.by_node["a"].record_outcome(is_success=False, now_ms=0, rules=RULES)
    pools.offer(a_node("a", slots=2), a_node("b", slots=2, incarnation=2), number=2)
    assert pools.table.by_node["b"].share is None, "nobody has run anything well"
    pools.table.by_node["a"].record_outcome(is_success=True, now_ms=0, rules=RULES)
    pools.offer(a_node("a", slots=2), a_node("b", slots=2, incarnation=3), a_node("c", slots=2), number=3)
    shares = {name: node_state.share for name, node_state in pools.table.by_node.items()}
    assert shares == {"a": None, "b": 1, "c": 1}


def test_of_many_free_nodes_those_whose_model_is_unloaded_are_looked_at_last_however_fast_they_are() -> None:
    pools = Pools()
    pools.speeds.load({f"n{n:02}": {"en:en": 1.0 if n < 10 else 64.0} for n in range(20)})

    def sampled(loads_in_ms: int, number: int) -> set[str]:
        nodes = (a_node(f"n{n:02}", loads_in_ms=0 if n < 10 else loads_in_ms) for n in range(20))
        pools.offer(*nodes, number=number)
        return {node_state.node for node_state in pools.table.groups.candidates(DEMAND).sample(a_question())}

    slow, fast = ({f"n{n:02}" for n in range(first, first + 10)} for first in (0, 10))
    assert sampled(0, 1) < fast
    assert sampled(8_000, 2) < slow
    pools.speeds.learn("n10", "en:en", 1_000, 10)
    assert sampled(7_000, 3) < slow, "what is learned of it does not bring it forward"
    assert sampled(0, 4) < fast


def test_a_node_that_was_unloaded_is_no_newcomer_and_a_newcomer_may_be_unloaded() -> None:
    pools = Pools()
    pools.offer(a_node("old"), number=1)
    old = pools.table.by_node["old"]
    old.record_outcome(is_success=True, now_ms=0, rules=RULES)
    for number, loads_in_ms in ((2, 8_000), (3, 0)):
        pools.offer(a_node("old", loads_in_ms=loads_in_ms), number=number)
        assert (old.share, old.loads_in_ms) == (None, loads_in_ms)
    pools.offer(a_node("old"), a_node("new", loads_in_ms=8_000), number=4)
    new = pools.table.by_node["new"]
    assert (new.share, new.loads_in_ms) == (1, 8_000)
    question = a_question()
    assert DEFAULT_POLICY.scores[0](new, question) == DEFAULT_POLICY.scores[0](old, question) + 8.0
    pools.offer(a_node("old", loads_in_ms=8_000), a_node("new", incarnation=2), number=5)
    back = pools.table.by_node["new"]
    assert (back.share, back.loads_in_ms) == (1, 0), "a new incarnation has loaded its model, and begins slowly"
