"""Several engines of one machine: what a profile declares, and what is said of a bad one."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from msgspec import structs

from ray_sched.core.capability import Offer
from ray_sched.core.messages.agent_registry import BeatReply
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.declarations import BadLabelError, Declaration, Held, RayNode, declare_profile, named_profile
from ray_sched.core.nodes.effects import ReadProfile, SpawnAgent
from ray_sched.core.nodes.listing import Declarations
from ray_sched.core.nodes.profiles import BadProfileError, Profile, read_profile, read_profiles
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.views.nodes import NodeRow
from tests.support.builders import ENGLISH, a_beat, a_ray_node, only
from tests.support.registry_harness import RegistryHarness, of

FILE = """
speech:
  whisper:
    engine: neural
    slots: 3
    asr: all
    services: [asr]
    replicas: 2
    options: {asr-model: Systran/faster-whisper-small, vad: no, beam-size: 2}
  opus:
    engine: my.own.Engine
    mt: [en:es, "any:de"]
    options: {mt-model: /data/opus}
  voice:
    engine: echo
    tts: es
"""
WHERE = "p.yaml"


def told(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


SPEECH = read_profile(told(FILE), "speech", WHERE)


def machine(ray_node_id: str = "ray-1", node: str = "box", gpus: float = 0.0, **labels: str) -> RayNode:
    said = {"profile": "speech", "node": node} | labels
    return RayNode(ray_node_id=ray_node_id, labels={f"ray-sched.io/{k}": v for k, v in said.items()}, gpus=gpus)


def test_each_engine_of_a_profile_is_a_node_of_its_own() -> None:
    whisper, opus, voice = declare_profile(machine(tenant="acme"), SPEECH, default_slots=4)
    assert [it.node for it in (whisper, opus, voice)] == ["box/whisper", "box/opus", "box/voice"]
    assert [it.slots for it in (whisper, opus, voice)] == [3, 4, 4]
    assert whisper.options == {
        "asr-model": "Systran/faster-whisper-small", "vad": "no", "beam-size": "2", "replicas": "2",
    }  # fmt: skip
    assert whisper.offer == Offer(services=("asr",), found=("asr",))
    assert whisper.capability.asr == (), "the engine says it"
    assert opus.capability.mt == ("any:de", "en:es")
    assert (voice.capability.tts, voice.capability.tenant) == (("es",), "acme")


def test_a_node_without_a_name_of_its_own_lends_its_engines_the_start_of_ray_s() -> None:
    ray_node = structs.replace(machine("0123456789"), labels={"ray-sched.io/profile": "speech"})
    assert declare_profile(ray_node, SPEECH, 4)[0].node == "node-01234567/whisper"


@pytest.mark.parametrize(("gpus", "each"), [(0, 0), (1, 0.5), (2, 1), (3, 1)])
def test_gpus_are_shared_out_among_the_engines_that_may_use_them(gpus: float, each: float) -> None:
    whisper, opus, voice = declare_profile(machine(gpus=gpus), SPEECH, 4)
    assert (whisper.held, opus.held, voice.held) == (Held(gpus=each), Held(gpus=each), Held())


def test_thirds_of_a_gpu_are_no_more_than_a_gpu() -> None:
    profile = {name: {"engine": "neural"} for name in "abc"}
    assert [it.held.gpus for it in declare_profile(machine(gpus=1), profile, 4)] == [0.3333] * 3


def test_an_engine_may_say_itself_what_it_holds() -> None:
    profile = {"a": {"engine": "neural", "option.ray-gpus": "2", "option.ray-cpus": "0"}, "b": {"engine": "echo"}}
    assert [it.held for it in declare_profile(machine(gpus=2), profile, 4)] == [Held(gpus=2), Held()]


@dataclass(frozen=True)
class Case:
    """One thing wrong with a file, and the sentence."""

    text: str
    sentence: str


BAD = [
    Case("spech: {}", "p.yaml has no profile 'speech'; did you mean 'spech'?"),
    Case("other: {}", "p.yaml has no profile 'speech'; there is other"),
    Case("{}", "p.yaml has no profile 'speech'; there is none"),
    Case(
        "speech: [whisper]",
        "p.yaml: profile speech must hold engines by their names, such as 'speech: {recogniser: {engine: neural}}'",
    ),
    Case(
        "speech: {whisper: neural}",
        "p.yaml: profile speech, whisper must hold keys and values, such as 'engine: neural', not 'neural'",
    ),
    Case(
        "speech: {a/b: {engine: echo}}",
        "p.yaml: profile speech: 'a/b' is no name for an engine, such as recogniser; it has up to 64 letters,"
        " digits, - and _",
    ),
    Case(
        "speech: {w: {engine: echo, slot: 2}}",
        "p.yaml: profile speech, w: there is no 'slot'; did you mean 'slots'?",
    ),
    Case(
        "speech: {w: {engine: echo, xyz: 2}}",
        "p.yaml: profile speech, w: there is no 'xyz'; there are engine, slots, asr, mt, tts, services, replicas,"
        " options",
    ),
    Case(
        "speech: {w: {asr: en}}",
        "p.yaml: profile speech, w: engine is missing; it names one, such as neural, or package.module.Class",
    ),
    Case(
        "speech: {w: {engine: echo, asr: [en, no]}}",
        "p.yaml: profile speech, w: asr must be a list such as [en, es], or all, not ['en', False]; YAML takes no"
        " for false, so write 'no' with quotes",
    ),
    Case(
        "speech: {w: {engine: echo, slots: [2]}}",
        "p.yaml: profile speech, w: slots must be a text or a number, not [2]",
    ),
    Case(
        "speech: {w: {engine: echo, options: [x]}}",
        "p.yaml: profile speech, w: options must be names and values, such as 'asr-model: base', not ['x']",
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.text)
def test_a_bad_file_is_answered_with_a_sentence_that_names_the_place(case: Case) -> None:
    with pytest.raises(BadProfileError) as caught:
        read_profile(told(case.text), "speech", WHERE)
    assert str(caught.value) == case.sentence


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"slots": "0"}, "slots='0' must be a number from 1 to 1024"),
        ({"asr": "en.all"}, "asr='en.all': say all alone for what the engine itself says"),
        ({"mt": "en"}, "mt='en': 'en' is not a pair such as en_es"),
        ({"services": "asr.ocr"}, "services='asr.ocr': 'ocr' is not one of asr, mt, tts"),
        ({"option.ray-gpus": "2"}, "option.ray-gpus='2' must be a number from 0 to 1, what Ray counts there"),
    ],
)
def test_what_an_engine_cannot_mean_is_named_with_its_profile(said: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadProfileError, match=re.escape(f"profile speech, w: {sentence}")):
        declare_profile(machine(gpus=1), {"w": {"engine": "echo"} | said}, 4)


def test_too_many_engines_are_refused_as_each_is_a_process() -> None:
    many = {"speech": {f"e{n}": {"engine": "echo"} for n in range(33)}}
    with pytest.raises(BadProfileError, match="profile speech has 33 engines; 32 are the most"):
        read_profiles(many, WHERE)


def test_labels_beside_a_profile_belong_into_it() -> None:
    assert named_profile(machine()) == "speech"
    assert named_profile(a_ray_node()) == ""
    with pytest.raises(BadLabelError, match="slots is said beside a profile; it belongs into the profile"):
        named_profile(machine(slots="2"))


# --- joining -------------------------------------------------------------------------------------------------------


def two(second: str = "es") -> Profile:
    return {"first": {"engine": "echo", "asr": "en"}, "second": {"engine": "echo", "asr": second}}


def names(declared: dict[str, Any]) -> list[str]:
    return sorted(declared)


def test_a_profile_of_the_settings_needs_no_file() -> None:
    declarations = Declarations(4, {"speech": two()})
    declared, _ = declarations.handle_ray_nodes([machine()], set())
    assert names(declared) == ["box/first", "box/second"]
    assert list(declarations.profiles.take_wanted({"ray-1"}, 0)) == []
    again, _ = declarations.handle_ray_nodes([machine()], set())
    assert again["box/first"].declaration is declared["box/first"].declaration


def test_two_machines_of_one_name_have_no_engine_in_common() -> None:
    declared, complaints = Declarations(4, {"speech": two()}).handle_ray_nodes([machine(), machine("ray-2")], {"ray-2"})
    assert {one.ray_node.ray_node_id for one in declared.values()} == {"ray-2"}
    assert only(complaints).text == "Ray node ray-1 is left out: two nodes are called box/first"


class Joining(RegistryHarness):
    """One machine whose profile is in its own file."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = of(self.look(machine()), ReadProfile)

    def read(self, profile: Profile) -> list[SpawnAgent]:
        self.brain.profile_read("ray-1", profile)
        return of(self.look(machine()), SpawnAgent)

    def beat_of(self, node: str, pid: int = 0) -> BeatReply:
        reply, _ = self.brain.handle_heartbeat(a_beat(node, self.brain.nodes[node].incarnation, pid=pid), self.now_ms)
        return reply

    def shown(self) -> list[tuple[str, str]]:
        """Nodes that cannot join, and why."""
        rows = [NodeRow.of_left_out(one) for one in self.brain.left_out]
        return [(row.node, row.why) for row in rows]


def test_what_the_settings_do_not_have_is_read_on_the_node_and_then_its_engines_start() -> None:
    it = Joining()
    assert it.asked == [ReadProfile(ray_node_id="ray-1", profile="speech")]
    assert of(it.look(machine()), ReadProfile) == [], "it is asked for once"
    started = it.read(two())
    assert [(spawn.node, spawn.agent, spawn.ray_node_id) for spawn in started] == [
        ("box/first", "agent:box/first", "ray-1"),
        ("box/second", "agent:box/second", "ray-1"),
    ]


def test_a_file_that_cannot_be_used_is_seen_in_nodes_and_read_again_when_it_may_be_mended() -> None:
    it = Joining()
    it.brain.profile_failed("ray-1", "p.yaml has no profile 'speech'; there is none")
    it.look(machine())
    assert it.shown() == [("node-ray-1", "p.yaml has no profile 'speech'; there is none")]
    it.now_ms += 9_999
    assert of(it.look(machine()), ReadProfile) == []
    it.now_ms += 1
    assert of(it.look(machine()), ReadProfile) == it.asked
    assert len(it.read(two())) == 2
    assert it.shown() == []


def test_a_profile_that_was_read_and_says_what_cannot_be_is_read_again_too() -> None:
    it = Joining()
    assert it.read({"first": {"engine": "echo", "slots": "none"}}) == []
    assert it.shown() == [("node-ray-1", "profile speech, first: slots='none' must be a number from 1 to 1024")]
    it.now_ms += 10_000
    it.look(machine())
    it.now_ms += 10_000
    assert of(it.look(machine()), ReadProfile) == it.asked


def test_a_registry_that_is_restarted_keeps_the_engines_while_it_reads_their_profile_again() -> None:
    first = Joining()
    first.read(two())
    it = RegistryHarness()
    records = [first.brain.nodes[name] for name in ("box/first", "box/second")]
    it.brain.restore([record_of(node.declaration, node.incarnation) for node in records], it.now_ms)
    it.look(machine())
    for name in ("box/first", "box/second"):
        it.beat(a_beat(name, 1))
        assert it.status(name) is NodeStatus.READY
    it.brain.profile_failed("ray-1", "somebody has broken it meanwhile")
    it.look(machine())
    assert it.status("box/first") is NodeStatus.READY, "what runs goes on"
    it.brain.profile_read("ray-1", {"first": two()["first"]})
    it.look(machine())
    assert (it.status("box/first"), it.status("box/second")) == (NodeStatus.READY, NodeStatus.LOST)
    it.look()
    assert it.status("box/first") is NodeStatus.LOST, "Ray says that the machine is dead"


def record_of(declaration: Declaration, incarnation: int) -> NodeRecord:
    return NodeRecord(declaration=declaration, ray_node_id="ray-1", incarnation=incarnation, is_drained=False)


def test_a_machine_s_name_drains_all_of_its_engines_and_has_them_back() -> None:
    it = Joining()
    it.read(two())
    it.join("boxer", "ray-2")
    for name in ("box/first", "box/second"):
        it.beat_of(name)
    assert it.brain.drain("box/second", None, it.now_ms)
    assert (it.status("box/first"), it.status("box/second")) == (NodeStatus.READY, NodeStatus.DRAINING)
    assert it.brain.drain("box", None, it.now_ms)
    assert (it.status("box/first"), it.status("boxer")) == (NodeStatus.DRAINING, NodeStatus.READY)
    assert it.brain.undrain("box")
    assert {it.status("box/first"), it.status("box/second")} == {NodeStatus.REGISTERING}
    assert it.brain.undrain("box") is None
    assert it.brain.drain("bo", None, it.now_ms) is None


def test_an_agent_is_told_of_the_others_of_its_machine_whose_work_is_no_load_of_strangers() -> None:
    it = Joining()
    it.read(two())
    it.join("boxer", "ray-2")
    it.beat_of("boxer", pid=13)
    assert it.beat_of("box/first", pid=11).siblings == ()
    assert it.beat_of("box/second", pid=12).siblings == (11,)
    assert it.beat_of("box/first", pid=11).siblings == (12,)
    assert it.beat_of("boxer", pid=13).siblings == ()
    it.brain.agent_died("box/second", 1, "killed", it.now_ms)
    assert it.beat_of("box/first", pid=11).siblings == ()


def test_engines_of_one_machine_are_in_the_pools_of_what_they_offer() -> None:
    it = Joining()
    it.read(two())
    it.brain.handle_heartbeat(a_beat("box/first", 1), it.now_ms)
    spanish = structs.replace(ENGLISH, asr=("es",))
    it.brain.handle_heartbeat(a_beat("box/second", 1, capability=spanish), it.now_ms)
    assert {name: list(pool.members) for name, pool in it.brain.pools.items()} == {
        "echo/asr=en": ["box/first"],
        "echo/asr=es": ["box/second"],
    }
