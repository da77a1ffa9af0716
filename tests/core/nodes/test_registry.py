"""The Registry's brain: nodes join, are well or not, leave, and have a pool. A fact, what follows, the next fact."""

from collections.abc import Iterable

import msgspec
import pytest
from msgspec import structs

from ray_sched.core.capability import Capability
from ray_sched.core.effects import Log, Save
from ray_sched.core.messages.agent_registry import BeatReply
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.declarations import BadLabelError, Held, RayNode, declare
from ray_sched.core.nodes.effects import (
    ClosePool,
    NotifyPool,
    OpenPool,
    RegistryEffect,
    SpawnAgent,
    StopAgent,
    WatchAgent,
)
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.ports import ForgetNode, SaveNode
from ray_sched.core.rules import NodeRules, PoolRules
from tests.support.builders import ENGLISH, a_beat, a_ray_node, only
from tests.support.registry_harness import ENGLISH_POOL, RegistryHarness, a_record, members, of, written

# --- labels -------------------------------------------------------------------------------------------------------


def labelled(**labels: str) -> RayNode:
    named = {f"ray-sched.io/{name.replace('__', '.')}": value for name, value in labels.items()}
    return RayNode(ray_node_id="0123456789abcdef", labels=named | {"ray.io/node-id": "x"}, gpus=2.0)


def test_labels_declare_what_a_node_can_do() -> None:
    declaration = declare(
        labelled(engine="speech", asr="es.en", mt="es_en.en_es.any_en", tts="en", slots="3", tenant="acme", node="n1"),
        4,
    )
    assert declaration is not None
    assert declaration.capability == Capability(
        engine="speech", asr=("en", "es"), mt=("any:en", "en:es", "es:en"), tts=("en",), tenant="acme", has_gpu=True
    )
    assert (declaration.node, declaration.slots) == ("n1", 3)


def test_what_the_labels_leave_open_has_a_default() -> None:
    declaration = declare(labelled(engine="echo", option__delay_ms="5"), 4)
    assert declaration is not None
    assert (declaration.node, declaration.slots, declaration.options) == ("node-01234567", 4, {"delay_ms": "5"})


def test_a_node_without_an_engine_label_is_not_ours() -> None:
    assert declare(RayNode(ray_node_id="x", labels={"team": "a"}), 4) is None


def test_a_node_may_have_from_one_slot_to_1024() -> None:
    declarations = [declare(labelled(engine="echo", slots=slots), 4) for slots in ("1", "1024")]
    assert [declaration.slots for declaration in declarations if declaration] == [1, 1024]


@pytest.mark.parametrize(
    "labels",
    [
        {"asr": "english"},
        {"asr": "EN"},
        {"mt": "en-es"},
        {"mt": "en"},
        {"tts": "e"},
        {"slots": "0"},
        {"slots": "many"},
        {"slots": "1025"},
        {"slots": "\u0663"},
        {"slots": "9" * 5_000},
    ],
)
def test_a_label_that_makes_no_sense_is_named(labels: dict[str, str]) -> None:
    with pytest.raises(BadLabelError, match=f"ray-sched.io/{only(labels)}="):
        declare(labelled(engine="echo", **labels), 4)


def test_a_bad_label_is_complained_about_once_and_again_when_it_is_bad_in_another_way() -> None:
    harness = RegistryHarness()
    bad = labelled(engine="echo", asr="english")
    assert only(harness.look(bad)) == Log(
        "Ray node 01234567 is left out: ray-sched.io/asr='english': 'english' is not a language tag such as en"
    )
    assert harness.look(bad) == []
    assert len(harness.look(labelled(engine="echo", asr="EN"))) == 1


def test_a_bad_node_keeps_no_good_one_out() -> None:
    harness = RegistryHarness()
    effects = harness.look(labelled(engine="echo", slots="0"), a_ray_node())
    assert [spawn.node for spawn in of(effects, SpawnAgent)] == ["node-a"]


def test_a_dead_ray_node_is_not_complained_about() -> None:
    harness = RegistryHarness()
    bad = msgspec.structs.replace(labelled(engine="echo", asr="english"), is_alive=False)
    assert (harness.look(bad), harness.look(bad)) == ([], [])


def test_a_bad_ray_node_that_comes_back_is_complained_about_again() -> None:
    harness = RegistryHarness()
    bad = labelled(engine="echo", asr="english")
    assert len(harness.look(bad)) == 1
    harness.look()
    assert len(harness.look(bad)) == 1


# --- joining ------------------------------------------------------------------------------------------------------


def test_a_new_node_gets_an_agent_and_is_stored_before() -> None:
    effects = RegistryHarness().look(a_ray_node())
    saved, spawn = effects[:2]
    assert isinstance(saved, Save)
    assert isinstance(saved.change, SaveNode)
    assert msgspec.json.decode(saved.change.record, type=NodeRecord).incarnation == 1
    assert spawn == SpawnAgent(
        node="node-a",
        incarnation=1,
        agent="agent:node-a",
        ray_node_id="ray-1",
        slots=2,
        engine="echo",
        options={},
        declared=ENGLISH,
    )


def test_an_agent_that_holds_gpus_asks_ray_for_them_and_says_so_until_its_first_heartbeat() -> None:
    harness = RegistryHarness()
    ray_node = a_ray_node(gpus=2.0)
    labels = ray_node.labels | {"ray-sched.io/option.ray-gpus": "2"}
    spawn = of(harness.look(structs.replace(ray_node, labels=labels)), SpawnAgent)
    assert spawn[0].held == Held(gpus=2)
    assert harness.brain.nodes["node-a"].why == "its agent asks Ray for 2 GPUs"
    harness.wait(60_000)
    lost = "no first heartbeat, as long as something else has the 2 GPUs that it asks Ray for"
    assert (harness.status(), harness.brain.nodes["node-a"].why) == (NodeStatus.LOST, lost)
    harness.wait(1_000)
    assert harness.brain.nodes["node-a"].why == f"starts again: {lost}; its agent asks Ray for 2 GPUs"
    harness.beat(a_beat(incarnation=2))
    assert harness.brain.nodes["node-a"].why == ""


def test_a_node_that_is_seen_again_gets_no_second_agent() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    assert harness.look(a_ray_node()) == []


def test_labels_that_were_corrected_are_read_again() -> None:
    harness = RegistryHarness()
    ray_node = a_ray_node()
    for slots, n_agents in (("none", 0), ("2", 1), ("3", 0)):
        changed = msgspec.structs.replace(ray_node, labels=ray_node.labels | {"ray-sched.io/slots": slots})
        assert len(of(harness.look(changed), SpawnAgent)) == n_agents
    assert harness.brain.nodes["node-a"].declaration.slots == 2, "what runs stays what it is"


def test_the_first_good_beat_makes_a_node_ready_and_puts_it_into_a_pool() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    assert harness.beat(a_beat(is_loaded=False, capability=None)) == []
    assert harness.status() is NodeStatus.REGISTERING
    effects = harness.beat(a_beat())
    assert harness.status() is NodeStatus.READY
    assert of(effects, OpenPool) == [OpenPool(ENGLISH_POOL)]
    view = only(members(effects).nodes)
    assert (view.node, view.incarnation, view.agent, view.status, view.slots) == (
        "node-a",
        1,
        "agent:node-a",
        "ready",
        2,
    )


def test_an_engine_that_can_do_other_things_than_declared_moves_the_node_to_another_pool() -> None:
    harness = RegistryHarness()
    harness.join()
    both = Capability(engine="echo", asr=("de", "en"))
    effects = harness.beat(a_beat(capability=both))
    assert members(effects, ENGLISH_POOL).nodes == ()
    assert [view.node for view in members(effects, "echo/asr=de.en").nodes] == ["node-a"]
    assert of(effects, OpenPool) == [OpenPool("echo/asr=de.en")]


def test_a_full_pool_opens_the_next_one_and_a_place_that_becomes_free_is_taken_again() -> None:
    harness = RegistryHarness(PoolRules(max_nodes_per_pool=2))
    for n in range(3):
        harness.join(f"node-{n}", f"ray-{n}")
    assert [harness.brain.nodes[f"node-{n}"].pool for n in range(3)] == [
        ENGLISH_POOL,
        ENGLISH_POOL,
        f"{ENGLISH_POOL}#1",
    ]
    harness.look(*harness.listed[1:])
    harness.join("node-3", "ray-3")
    assert harness.brain.nodes["node-3"].pool == ENGLISH_POOL


def test_a_pool_without_nodes_is_closed_after_a_minute() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look()
    assert of(harness.wait(59_999), ClosePool) == []
    assert of(harness.wait(1), ClosePool) == [ClosePool(ENGLISH_POOL)]
    assert harness.brain.pools == {}


def test_a_pool_that_gets_a_node_in_time_stays() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look()
    harness.wait(59_000)
    harness.join("node-b", "ray-2")
    assert of(harness.wait(10_000, a_beat("node-b")), ClosePool) == []


# --- health -------------------------------------------------------------------------------------------------------


def test_a_silent_node_is_suspect_after_a_second_and_a_half_and_lost_after_three() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.wait(1_499)
    assert harness.status() is NodeStatus.READY
    effects = harness.wait(1)
    assert harness.status() is NodeStatus.SUSPECT
    assert only(members(effects).nodes).status == "suspect"
    harness.wait(1_499)
    assert harness.status() is NodeStatus.SUSPECT
    effects = harness.wait(1)
    assert harness.status() is NodeStatus.LOST
    assert of(effects, StopAgent) == [StopAgent("agent:node-a")]
    assert {view.status for effect in of(effects, NotifyPool) for view in effect.members.nodes} == {"lost"}


def test_a_suspect_node_that_beats_again_is_ready() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.wait(2_000)
    effects = harness.beat(a_beat())
    assert only(members(effects).nodes).status == "ready"


def test_three_bad_beats_in_a_row_degrade_a_node_and_one_good_beat_heals_it() -> None:
    harness = RegistryHarness()
    harness.join()
    bad = a_beat(is_healthy=False, why="model crashed")
    assert (harness.beat(bad), harness.beat(bad)) == ([], [])
    effects = harness.beat(bad)
    assert (only(members(effects).nodes).status, only(members(effects).nodes).why) == ("degraded", "model crashed")
    assert only(members(harness.beat(a_beat())).nodes).status == "ready"


def test_an_agent_without_a_first_beat_is_started_again_after_a_minute() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    assert of(harness.wait(59_999), SpawnAgent) == []
    effects = harness.wait(1) + harness.wait(1_000)
    assert [spawn.incarnation for spawn in of(effects, SpawnAgent)] == [2]


def test_a_dead_agent_is_started_again_as_a_new_incarnation_after_a_pause_that_doubles() -> None:
    harness = RegistryHarness()
    harness.join()
    for incarnation, pause_ms in ((1, 1_000), (2, 2_000), (3, 4_000)):
        effects = harness.brain.agent_died("node-a", incarnation, "killed", harness.now_ms)
        assert of(effects, StopAgent) == [StopAgent("agent:node-a")]
        assert of(harness.wait(pause_ms - 1), SpawnAgent) == []
        assert [spawn.incarnation for spawn in of(harness.wait(1), SpawnAgent)] == [incarnation + 1]


def test_an_agent_that_became_ready_is_forgiven() -> None:
    harness = RegistryHarness()
    harness.join()
    for incarnation in (1, 2, 3):
        harness.brain.agent_died("node-a", incarnation, "killed", harness.now_ms)
        assert len(of(harness.wait(1_000), SpawnAgent)) == 1
        harness.beat(a_beat(incarnation=incarnation + 1))


def test_the_pause_before_a_start_is_never_longer_than_half_a_minute() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    for incarnation in range(1, 10):
        harness.brain.agent_died("node-a", incarnation, "no memory", harness.now_ms)
        assert len(of(harness.wait(30_000), SpawnAgent)) == 1


def test_a_beat_of_an_old_incarnation_is_told_so_and_changes_nothing() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.agent_died("node-a", 1, "silent", harness.now_ms)
    assert harness.brain.handle_heartbeat(a_beat(incarnation=1), harness.now_ms) == (BeatReply(is_current=False), [])
    harness.wait(1_000)
    assert harness.brain.handle_heartbeat(a_beat(incarnation=1), harness.now_ms) == (BeatReply(is_current=False), [])
    assert harness.status() is NodeStatus.REGISTERING
    assert harness.brain.handle_heartbeat(a_beat("node-x"), harness.now_ms) == (BeatReply(is_current=False), [])


def test_the_death_of_an_old_incarnation_is_no_news() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.agent_died("node-a", 1, "killed", harness.now_ms)
    harness.wait(1_000)
    harness.beat(a_beat(incarnation=2))
    assert harness.brain.agent_died("node-a", 1, "killed", harness.now_ms) == []
    assert harness.status() is NodeStatus.READY


def test_a_node_that_ray_lists_no_more_is_lost_at_once_and_not_started_again() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look(a_ray_node(is_alive=False))
    assert harness.status() is NodeStatus.LOST
    assert of(harness.wait(60_000), SpawnAgent) == []


def test_a_machine_that_was_restarted_is_a_new_incarnation_at_once() -> None:
    harness = RegistryHarness()
    harness.join()
    effects = harness.look(a_ray_node("ray-1", is_alive=False), a_ray_node("ray-2"))
    assert harness.status() is NodeStatus.LOST
    effects = harness.look(a_ray_node("ray-1", is_alive=False), a_ray_node("ray-2")) + harness.wait(1_000)
    assert [(spawn.incarnation, spawn.ray_node_id) for spawn in of(effects, SpawnAgent)] == [(2, "ray-2")]


@pytest.mark.parametrize("newcomer_is_listed_first", [False, True])
def test_of_two_ray_nodes_with_one_name_the_one_that_was_there_stays(*, newcomer_is_listed_first: bool) -> None:
    harness = RegistryHarness()
    harness.join()
    both = [a_ray_node("ray-1"), a_ray_node("ray-2")]
    listed = both[::-1] if newcomer_is_listed_first else both
    assert harness.look(*listed) == [Log("Ray node ray-2 is left out: two nodes are called node-a")]
    assert harness.look(*listed) == []
    assert harness.status() is NodeStatus.READY
    harness.brain.agent_died("node-a", 1, "killed", harness.now_ms)
    assert [spawn.ray_node_id for spawn in of(harness.wait(1_000), SpawnAgent)] == ["ray-1"]
    harness.look(a_ray_node("ray-2"))
    assert [spawn.ray_node_id for spawn in of(harness.wait(2_000), SpawnAgent)] == ["ray-2"]


# --- leaving ------------------------------------------------------------------------------------------------------


def test_a_drained_node_without_jobs_is_gone_once_it_has_said_so_and_is_not_started_again() -> None:
    harness = RegistryHarness()
    harness.join()
    effects = harness.brain.drain("node-a", None, harness.now_ms)
    assert effects is not None
    assert only(members(effects).nodes).status == "draining"
    record = msgspec.json.decode(of(effects, Save)[0].change.record, type=NodeRecord)  # type: ignore[union-attr]
    assert record.is_drained
    effects = harness.wait(1_000, a_beat())
    assert of(effects, StopAgent) == [StopAgent("agent:node-a")]
    assert harness.status() is NodeStatus.GONE
    assert of(harness.wait(60_000), SpawnAgent) == []


def test_a_job_pushed_just_before_the_drain_is_not_cut_off() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", None, harness.now_ms)
    assert harness.brain.tick(harness.now_ms + 100)
    assert harness.status() is NodeStatus.DRAINING, "its last beat is older than the drain: who knows what it runs"
    harness.wait(1_000, a_beat(running=1))
    assert harness.status() is NodeStatus.DRAINING


def test_a_job_still_on_its_way_to_a_draining_node_is_not_cut_off() -> None:
    harness = RegistryHarness()
    before = members(harness.join())
    harness.brain.drain("node-a", None, harness.now_ms)
    harness.acquired = {"node-a": 1}
    harness.wait(2_000, a_beat())
    assert harness.status() is NodeStatus.DRAINING
    harness.acquired = {}
    harness.answer(before)
    harness.beat(a_beat())
    harness.brain.tick(harness.now_ms)
    assert harness.status() is NodeStatus.DRAINING, "that was said before the Dispatcher knew of the drain"
    harness.wait(1_000, a_beat())
    assert harness.status() is NodeStatus.GONE


def test_speech_that_waits_to_be_fetched_keeps_a_draining_node() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", None, harness.now_ms)
    harness.wait(5_000, a_beat(speech_bytes=32_000))
    assert harness.status() is NodeStatus.DRAINING
    harness.wait(500, a_beat())
    assert harness.status() is NodeStatus.GONE


def test_a_node_that_never_beat_is_drained_at_once() -> None:
    harness = RegistryHarness()
    harness.look(a_ray_node())
    harness.brain.drain("node-a", None, harness.now_ms)
    harness.wait(1)
    assert harness.status() is NodeStatus.GONE


def test_a_draining_node_says_so_to_its_agent_and_finishes_what_it_runs() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", 60_000, harness.now_ms)
    busy = a_beat(running=1)
    assert harness.brain.handle_heartbeat(busy, harness.now_ms)[0] == BeatReply(is_current=True, is_draining=True)
    harness.wait(30_000, busy)
    assert harness.status() is NodeStatus.DRAINING
    effects = harness.wait(1_000, a_beat(running=0))
    assert harness.status() is NodeStatus.GONE
    assert Log("node-a is drained") in effects


def test_a_drain_has_a_deadline() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", 10_000, harness.now_ms)
    busy = a_beat(running=2)
    harness.wait(9_999, busy)
    assert harness.status() is NodeStatus.DRAINING
    effects = harness.wait(1, busy)
    assert Log("node-a is drained, 2 jobs left at its deadline") in effects
    assert StopAgent("agent:node-a") in effects


def test_nobody_drains_a_node_that_is_not_there() -> None:
    harness = RegistryHarness()
    harness.join()
    assert harness.brain.drain("node-x", None, harness.now_ms) is None
    harness.look()
    assert harness.brain.drain("node-a", None, harness.now_ms) is None


def test_ray_s_own_drain_drains_a_node_once() -> None:
    harness = RegistryHarness()
    harness.join()
    effects = harness.look(a_ray_node(is_draining=True))
    assert only(members(effects).nodes).status == "draining"
    assert harness.look(a_ray_node(is_draining=True)) == []


def test_ray_s_own_drain_ends_when_ray_says() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look(a_ray_node(is_draining=True, drain_ends_in_ms=5_000))
    assert of(harness.wait(4_900, a_beat(running=1)), StopAgent) == []
    assert only(of(harness.wait(200, a_beat(running=1)), StopAgent)).agent == "agent:node-a"


def test_no_agent_is_started_on_a_node_that_ray_drains() -> None:
    assert RegistryHarness().look(a_ray_node(is_draining=True)) == []


def test_a_drained_machine_that_was_restarted_joins_again() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", None, harness.now_ms)
    harness.wait(1_000, a_beat())
    assert [spawn.incarnation for spawn in of(harness.look(a_ray_node("ray-2")), SpawnAgent)] == [2]


def test_a_node_that_is_silent_while_it_drains_is_lost() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.beat(a_beat(running=1))
    harness.brain.drain("node-a", 60_000, harness.now_ms)
    harness.wait(3_000)
    assert harness.status() is NodeStatus.LOST


# --- restart ------------------------------------------------------------------------------------------------------


def test_what_is_stored_of_a_node_is_what_a_restarted_registry_takes_up() -> None:
    harness = RegistryHarness()
    stored: dict[str, NodeRecord] = {}
    harness.look(a_ray_node("ray-1", "node-a"), a_ray_node("ray-2", "node-b"))
    harness.brain.agent_died("node-a", 1, "killed", harness.now_ms)
    effects = harness.wait(1_000) + (harness.brain.drain("node-b", None, harness.now_ms) or [])
    for saved in of(effects, Save):
        assert isinstance(saved.change, SaveNode)
        stored[saved.change.node_id] = msgspec.json.decode(saved.change.record, type=NodeRecord)
    assert stored["node-a"] == a_record("node-a", "ray-1", 2)
    assert stored["node-b"] == a_record("node-b", "ray-2", 1, is_drained=True)


def test_an_agent_that_still_beats_outlives_its_registry() -> None:
    after = RegistryHarness()
    effects = after.brain.restore([a_record("node-a", "ray-1", 2)], after.now_ms)
    assert of(effects, WatchAgent) == [WatchAgent("node-a", 2, "agent:node-a")]
    assert of(after.look(a_ray_node("ray-1", "node-a")), SpawnAgent) == []
    after.beat(a_beat(incarnation=2))
    assert after.status() is NodeStatus.READY


def test_an_agent_that_died_with_its_registry_is_started_again_at_once() -> None:
    after = RegistryHarness()
    after.brain.restore([a_record("node-a", "ray-1", 2)], after.now_ms)
    effects = after.brain.agent_died("node-a", 2, "there is no actor", after.now_ms)
    assert of(effects, StopAgent) == []
    effects = after.look(a_ray_node("ray-1", "node-a"))
    assert [(spawn.node, spawn.incarnation) for spawn in of(effects, SpawnAgent)] == [("node-a", 3)]


def test_a_restored_agent_that_stays_silent_is_lost_after_three_seconds() -> None:
    after = RegistryHarness()
    after.brain.restore([a_record("node-a", "ray-1", 2)], after.now_ms)
    after.look(a_ray_node("ray-1", "node-a"))
    after.wait(2_999)
    assert after.status() is NodeStatus.REGISTERING
    effects = after.wait(1)
    assert after.status() is NodeStatus.LOST
    assert of(effects, StopAgent) == [StopAgent("agent:node-a")]


def test_a_drained_node_stays_drained_when_the_registry_is_restarted() -> None:
    after = RegistryHarness()
    after.brain.restore([a_record("node-b", "ray-2", 1, is_drained=True)], after.now_ms)
    assert of(after.look(a_ray_node("ray-2", "node-b")), SpawnAgent) == []


def test_all_that_an_emptied_store_held_is_written_again() -> None:
    harness = RegistryHarness()
    harness.join("node-a", "ray-1")
    harness.join("node-b", "ray-2")
    harness.join("node-c", "ray-3")
    harness.brain.drain("node-b", None, harness.now_ms)
    harness.look(*harness.listed[:2])
    harness.wait(
        600_500, a_beat("node-a")
    )  # node-b is gone and node-c is lost, both for so long that they are not shown
    again = {node: record.is_drained for node, record in written(harness.brain.store_was_emptied()).items()}
    assert again == {"node-a": False, "node-b": True}


def test_a_pool_is_told_of_a_lost_node_for_five_seconds_and_not_when_it_is_back() -> None:
    harness = RegistryHarness()
    harness.join("node-a", "ray-1")
    harness.join("node-b", "ray-2")
    harness.brain.agent_died("node-a", 1, "killed", harness.now_ms)
    harness.look(harness.listed[1])
    told = of(harness.wait(4_500, a_beat("node-b")), NotifyPool)
    assert {tuple(view.status for view in effect.members.nodes) for effect in told} == {("lost", "ready")}
    assert len(members(harness.wait(500, a_beat("node-b"))).nodes) == 1
    harness.brain.agent_died("node-b", 1, "killed", harness.now_ms)
    harness.wait(1_000)
    told = of(harness.beat(a_beat("node-b", incarnation=2)), NotifyPool)
    assert [(view.incarnation, view.status) for view in told[-1].members.nodes] == [(2, "ready")]


def test_what_a_pool_is_told_carries_a_growing_number() -> None:
    harness = RegistryHarness()
    told = [*of(harness.join(), NotifyPool), *of(harness.wait(5_000, a_beat()), NotifyPool)]
    stamps = [(effect.members.epoch, effect.members.number) for effect in told]
    assert stamps == sorted(set(stamps))
    assert {epoch for epoch, _ in stamps} == {7}


def test_a_lost_node_is_shown_for_ten_minutes_and_then_forgotten() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look()
    harness.wait(599_999)
    assert set(harness.brain.nodes) == {"node-a"}
    harness.wait(1)
    assert harness.brain.nodes == {}


def test_a_drained_machine_is_still_drained_after_an_earlier_one_of_its_name_was_forgotten() -> None:
    harness = RegistryHarness()
    for ray_node_id in ("ray-1", "ray-2"):
        harness.listed = []
        harness.join("node-a", ray_node_id)
        harness.brain.drain("node-a", None, harness.now_ms)
        harness.wait(1_000, a_beat(incarnation=harness.brain.nodes["node-a"].incarnation))
    assert of(harness.wait(1_300_000), Save) == [], "the record is of the second machine, which Ray still lists"
    again = written(harness.brain.store_was_emptied())
    assert {name: (record.ray_node_id, record.is_drained) for name, record in again.items()} == {
        "node-a": ("ray-2", True)
    }
    assert of(harness.look(a_ray_node("ray-2")), SpawnAgent) == []


def test_a_node_that_was_forgotten_begins_again_with_its_first_incarnation() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.look()
    (forgotten,) = of(harness.wait(600_000), Save)
    assert forgotten.change == ForgetNode(node_id="node-a")
    assert [spawn.incarnation for spawn in of(harness.look(a_ray_node("ray-1")), SpawnAgent)] == [1]


def test_the_pool_of_a_drained_node_is_told_once_that_it_is_gone() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", 10_000, harness.now_ms)
    told = of(harness.wait(11_000, a_beat(running=1)), NotifyPool)
    seen = [tuple(view.status for view in effect.members.nodes) for effect in told]
    assert seen.count((NodeStatus.GONE,)) == 1
    assert seen[-1] == ()


def test_a_record_without_a_pool_puts_its_node_into_none() -> None:
    after = RegistryHarness()
    record = msgspec.structs.replace(a_record("node-a", "ray-1", 2), capability=ENGLISH)
    assert of(after.brain.restore([record], after.now_ms), OpenPool) == []
    assert after.brain.pools == {}


def test_a_restored_node_is_in_its_pool_before_its_first_beat() -> None:
    after = RegistryHarness()
    record = msgspec.structs.replace(a_record("node-a", "ray-1", 2), capability=ENGLISH, pool=ENGLISH_POOL)
    effects = after.brain.restore([record], after.now_ms)
    assert of(effects, OpenPool) == [OpenPool(ENGLISH_POOL)]
    assert [(view.node, view.incarnation, view.status) for view in members(effects).nodes] == [
        ("node-a", 2, "registering")
    ]


def test_a_drain_that_was_under_way_goes_on_after_a_restart_until_the_rules_deadline() -> None:
    after = RegistryHarness(rules=NodeRules(drain_deadline_ms=5_000))
    record = a_record("node-a", "ray-1", 2, is_drained=True)
    record = msgspec.structs.replace(record, capability=ENGLISH, pool=ENGLISH_POOL)
    after.brain.restore([record], after.now_ms)
    after.look(a_ray_node("ray-1", "node-a"))
    after.wait(4_500, a_beat(incarnation=2, running=1))
    assert after.status() is NodeStatus.DRAINING
    after.wait(500, a_beat(incarnation=2, running=1))
    assert after.status() is NodeStatus.GONE


def test_the_record_of_a_node_that_is_ready_says_what_it_offers_and_in_which_pool() -> None:
    harness = RegistryHarness()
    record = written(harness.join())["node-a"]
    assert (record.incarnation, record.capability, record.pool) == (1, ENGLISH, ENGLISH_POOL)
    harness.brain.drain("node-a", 1_000, harness.now_ms)
    ended = written(harness.wait(1_000))["node-a"]
    assert (ended.is_drained, ended.capability, ended.pool) == (True, ENGLISH, "")


def test_a_drained_machine_is_forgotten_beside_whatever_else_happens_in_the_same_look() -> None:
    harness = RegistryHarness()
    harness.join()
    harness.brain.drain("node-a", 1_000, harness.now_ms)
    harness.wait(1_000)
    harness.look()
    harness.wait(1_200_000)
    harness.now_ms += 500
    effects = harness.look(a_ray_node("ray-2", "node-b"))
    assert [spawn.node for spawn in of(effects, SpawnAgent)] == ["node-b"]
    assert Save(ForgetNode(node_id="node-a")) in effects


def why_lost(harness: RegistryHarness, effects: Iterable[RegistryEffect]) -> str:
    """What people are told of the loss of node-a, which is what its pool is told, too."""
    why = next(view.why for view in members(effects).nodes if view.status is NodeStatus.LOST)
    assert harness.brain.nodes["node-a"].status is not NodeStatus.LOST or harness.brain.nodes["node-a"].why == why
    assert Log(f"node-a is lost: {why}") in effects
    return why


def test_why_a_node_is_lost_is_told_to_its_pool_and_to_people() -> None:
    harness = RegistryHarness()
    harness.join()
    assert why_lost(harness, harness.look()) == "Ray says that the node is dead"
    harness = RegistryHarness()
    harness.join()
    assert why_lost(harness, harness.look(a_ray_node("ray-2"))) == "another Ray node has taken its name"
    harness = RegistryHarness()
    harness.join()
    assert why_lost(harness, harness.brain.agent_died("node-a", 1, "signal 9", harness.now_ms)) == "signal 9"
    harness = RegistryHarness()
    harness.join()
    assert why_lost(harness, harness.wait(3_000)) == "silent for 3 s"
