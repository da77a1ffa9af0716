"""Pools: who is in which, when they open and close, and what each is told."""

from collections.abc import Iterable

from ray_sched.core.capability import Capability
from ray_sched.core.effects import Log
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.messages.registry_pool import MembersVersion
from ray_sched.core.node_status import NodeEvent
from ray_sched.core.nodes.declarations import Declaration
from ray_sched.core.nodes.effects import ClosePool, NotifyPool, OpenPool, RegistryEffect
from ray_sched.core.nodes.membership import Membership
from ray_sched.core.nodes.node import Node
from ray_sched.core.rules import PoolRules
from tests.support.builders import ENGLISH, a_beat

GERMAN = Capability(engine="echo", asr=("de",))


def a_ready_node(name: str = "node-a", capability: Capability = ENGLISH) -> Node:
    declaration = Declaration(node=name, engine="echo", capability=ENGLISH, slots=2)
    node = Node(declaration, f"ray-of-{name}", 1, 0)
    node.handle_heartbeat(a_beat(name, capability=capability, load=Load(cpu=40.0)), 0)
    return node


def told(effects: Iterable[RegistryEffect]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Pool, and name and status of each node it is told of."""
    return [
        (effect.members.pool, tuple((view.node, view.status) for view in effect.members.nodes))
        for effect in effects
        if isinstance(effect, NotifyPool)
    ]


def test_the_first_node_of_a_capability_opens_its_pool_and_is_told_to_it() -> None:
    membership, node = Membership(7, PoolRules()), a_ready_node()
    opened, log, notified = membership.place(node, 0)
    assert (opened, log) == (OpenPool("echo/asr=en"), Log("pool echo/asr=en opens"))
    assert isinstance(notified, NotifyPool)
    (view,) = notified.members.nodes
    assert (view.node, view.slots, view.load) == ("node-a", 2, Load(cpu=40.0))
    assert not view.has_died
    assert notified.members.capability == ENGLISH
    assert membership.has(node)
    assert node.pool == "echo/asr=en"


def test_a_node_that_is_placed_stays_where_it_is_while_it_offers_the_same() -> None:
    membership, node = Membership(7, PoolRules()), a_ready_node()
    membership.place(node, 0)
    assert membership.place(node, 0) == []


def test_a_node_that_has_not_said_what_it_offers_is_placed_nowhere() -> None:
    membership = Membership(7, PoolRules())
    node = Node(Declaration(node="node-a", engine="echo", capability=ENGLISH, slots=2), "ray-1", 1, 0)
    assert membership.place(node, 0) == []
    assert not membership.has(node)


def test_a_node_that_offers_something_else_leaves_one_pool_for_another_and_both_are_told() -> None:
    membership, node = Membership(7, PoolRules(pool_idle_ttl_ms=1_000)), a_ready_node()
    membership.place(node, 0)
    node.handle_heartbeat(a_beat(capability=GERMAN), 500)
    effects = membership.place(node, 500)
    assert told(effects) == [("echo/asr=en", ()), ("echo/asr=de", (("node-a", "ready"),))]
    assert told(membership.notify(node)) == [("echo/asr=de", (("node-a", "ready"),))]
    assert ClosePool("echo/asr=en") not in membership.tick(1_499)
    assert ClosePool("echo/asr=en") in membership.tick(1_500)
    assert set(membership.pools) == {"echo/asr=de"}


def test_every_message_is_newer_than_all_before_it_whichever_pool_it_goes_to() -> None:
    membership = Membership(7, PoolRules())
    effects = [*membership.place(a_ready_node("node-a"), 0), *membership.place(a_ready_node("node-b", GERMAN), 0)]
    effects += membership.tick(250)
    versions = [effect.members.version for effect in effects if isinstance(effect, NotifyPool)]
    assert versions == [MembersVersion(7, number) for number in (1, 2, 3, 4)]
    assert membership.next_version == MembersVersion(7, 5)
    assert membership.next_version == MembersVersion(7, 5), "asking takes no number"


def test_a_lost_node_is_told_for_less_than_five_seconds() -> None:
    membership, node = Membership(7, PoolRules()), a_ready_node()
    membership.place(node, 0)
    node.lose(NodeEvent.DIED, "killed", 1_000, has_died=True)
    assert told(membership.lose(node, 1_000)) == [("echo/asr=en", (("node-a", "lost"),))]
    assert not membership.has(node)
    assert told(membership.tick(5_999)) == [("echo/asr=en", (("node-a", "lost"),))]
    assert told(membership.tick(6_000)) == [("echo/asr=en", ())]


def test_a_drained_node_is_told_gone_once() -> None:
    membership, node = Membership(7, PoolRules()), a_ready_node()
    membership.place(node, 0)
    node.begin_drain(10_000, membership.next_version)
    node.end_drain(1_000)
    assert told(membership.end(node, 1_000)) == [("echo/asr=en", (("node-a", "gone"),))]
    assert not membership.has(node)
    assert told(membership.tick(1_250)) == [("echo/asr=en", ())]


def test_nobody_is_told_of_a_node_that_was_in_no_pool() -> None:
    membership, node = Membership(7, PoolRules()), a_ready_node()
    assert (membership.notify(node), membership.lose(node, 0), membership.end(node, 0)) == ([], [], [])
    assert membership.next_version.number == 1


def test_restored_pools_are_told_when_all_of_their_nodes_are_there() -> None:
    membership = Membership(7, PoolRules(pool_idle_ttl_ms=1_000))
    for name in ("node-b", "node-a"):
        membership.restore(a_ready_node(name), "echo/asr=en", ENGLISH)
    opened, *notified = membership.restored()
    assert opened == OpenPool("echo/asr=en")
    assert told(notified) == [("echo/asr=en", (("node-a", "ready"), ("node-b", "ready")))]
    assert set(membership.pools) == {"echo/asr=en"}
    assert ClosePool("echo/asr=en") not in membership.tick(10_000)
