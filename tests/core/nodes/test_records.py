"""Records of nodes: read back as they were written, and those of several machines under one name."""

import msgspec

from ray_sched.core.effects import Save
from ray_sched.core.nodes.records import NodeRecord, SavedNodes, read_nodes
from ray_sched.core.ports import ForgetNode, SaveNode
from tests.support.builders import ENGLISH
from tests.support.registry_harness import ENGLISH_POOL, a_record


def written(save: Save) -> NodeRecord:
    assert isinstance(save.change, SaveNode)
    record = msgspec.json.decode(save.change.record, type=NodeRecord)
    assert save.change.node_id == record.declaration.node
    return record


def test_what_the_registry_wrote_of_a_node_is_read_as_it_was_and_what_it_did_not_write_is_left_out() -> None:
    waits = a_record("node-a", "ray-1", 1)
    drained = a_record("node-b", "ray-2", 2, is_drained=True)
    ready = msgspec.structs.replace(a_record("node-c", "ray-3", 3), capability=ENGLISH, pool=ENGLISH_POOL)
    records = [msgspec.json.encode(record) for record in (waits, drained, ready)]
    read = read_nodes([*records[:2], b"{}", records[2], b"no record"])
    assert read.readable == [waits, drained, ready]
    assert (read.n_left_out, read.why) == (2, "Object missing required field `declaration`")


def test_incarnations_are_counted_from_one_on_and_go_on_from_what_was_stored() -> None:
    saved = SavedNodes()
    assert saved.next_incarnation("node-a") == 1
    saved.restore(a_record("node-a", "ray-1", 4))
    assert (saved.next_incarnation("node-a"), saved.next_incarnation("node-b")) == (5, 1)
    saved.save(a_record("node-a", "ray-1", 5))
    assert saved.next_incarnation("node-a") == 6


def test_the_newest_record_of_each_node_is_what_an_emptied_store_gets_again() -> None:
    saved = SavedNodes()
    saved.restore(a_record("node-a", "ray-1", 1))
    saved.restore(a_record("node-b", "ray-2", 1))
    newest = a_record("node-a", "ray-3", 2)
    assert written(saved.save(newest)) == newest
    assert [written(save) for save in saved.save_all()] == [newest, a_record("node-b", "ray-2", 1)]


def test_only_the_record_of_the_machine_that_is_forgotten_goes() -> None:
    saved = SavedNodes()
    saved.save(a_record("node-a", "ray-1", 1))
    assert saved.forget("node-a", "ray-2") == []
    assert saved.forget("node-b", "ray-1") == []
    assert saved.forget("node-a", "ray-1") == [Save(ForgetNode(node_id="node-a"))]
    assert (saved.save_all(), saved.next_incarnation("node-a"), saved.forget("node-a", "ray-1")) == ([], 1, [])
