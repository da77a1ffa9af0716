"""What a bad label is answered with, and that labels are read once."""

import re
from dataclasses import dataclass

import pytest
from msgspec import structs

from ray_sched.core.effects import Log
from ray_sched.core.nodes.declarations import BadLabelError, Held, RayNode, declare
from ray_sched.core.nodes.listing import Declarations
from tests.support.builders import a_ray_node, only

LONG = "x" * 90


@dataclass(frozen=True)
class Case:
    """One bad label and what is said of it, after its name."""

    name: str
    value: str
    sentence: str


def labelled(**labels: str) -> RayNode:
    return RayNode(
        ray_node_id="0123456789abcdef", labels={f"ray-sched.io/{name}": value for name, value in labels.items()}
    )


@pytest.mark.parametrize(
    "case",
    [
        Case("engine", "a b", "='a b' is not a name such as node-1"),
        Case("tenant", "-", "='-' is not a name such as node-1"),
        Case("node", LONG, f"='{LONG[:80]}' is not a name such as node-1"),
        Case("slots", "0", "='0' must be a number from 1 to 1024"),
        Case("slots", LONG, f"='{LONG[:80]}' must be a number from 1 to 1024"),
        Case("asr", "en.e", "='en.e': 'e' is not a language tag such as en"),
        Case("tts", LONG, f"='{LONG[:80]}': '{LONG[:80]}' is not a language tag such as en"),
        Case("mt", "en_es.en", "='en_es.en': 'en' is not a pair such as en_es"),
        Case("mt", LONG, f"='{LONG[:80]}': '{LONG[:80]}' is not a pair such as en_es"),
    ],
)
def test_a_bad_label_is_named_with_what_it_says_and_what_it_should_say(case: Case) -> None:
    labels = {"engine": "echo"} | {case.name: case.value}
    with pytest.raises(BadLabelError) as caught:
        declare(labelled(**labels), 4)
    assert str(caught.value) == f"ray-sched.io/{case.name}{case.sentence}"


def test_only_labels_with_the_prefix_declare_anything() -> None:
    ray_node = labelled(engine="echo", slots="2")
    others = structs.replace(ray_node, labels=ray_node.labels | {"slots": "7", "tenant": "acme", "option.x": "y"})
    assert declare(others, 4) == declare(ray_node, 4)


def test_empty_places_between_languages_and_pairs_say_nothing() -> None:
    declaration = declare(labelled(engine="echo", asr=".en..de.en", mt=".en_es..en_es", tts="."), 4)
    assert declaration is not None
    capability = declaration.capability
    assert (capability.asr, capability.mt, capability.tts) == (("de", "en"), ("en:es",), ())
    assert (capability.tenant, capability.has_gpu) == ("", False)


def test_a_name_that_is_left_empty_is_the_start_of_ray_s_own() -> None:
    declaration = declare(labelled(engine="echo", node=""), 4)
    assert declaration is not None
    assert declaration.node == "node-01234567"


def test_labels_are_read_once_and_again_when_they_or_the_gpu_have_changed() -> None:
    declarations = Declarations(4)

    def read(ray_node: RayNode) -> object:
        declared, complaints = declarations.handle_ray_nodes([ray_node], set())
        assert complaints == []
        return only(declared.values()).declaration

    first = read(a_ray_node())
    assert read(a_ray_node()) is first
    with_gpu = read(a_ray_node(gpus=1.0))
    assert with_gpu is not first
    assert read(a_ray_node(gpus=1.0)) is with_gpu
    declarations.handle_ray_nodes([], set())
    assert read(a_ray_node(gpus=1.0)) is not with_gpu, "a node that is listed no more is forgotten"


def test_labels_without_a_name_of_slots_get_the_default() -> None:
    declared, _ = Declarations(7).handle_ray_nodes([labelled(engine="echo")], set())
    assert only(declared.values()).declaration.slots == 7


@pytest.mark.parametrize(
    ("engine", "labels", "held"),
    [
        ("neural", {}, Held(gpus=2)),
        ("my.own.Engine", {}, Held(gpus=2)),
        ("speech", {}, Held()),
        ("echo", {}, Held()),
        ("echo", {"option.ray-gpus": "1", "option.ray-cpus": "4"}, Held(gpus=1, cpus=4)),
        ("neural", {"option.ray-gpus": "0"}, Held()),
        ("neural", {"option.ray-gpus": "0.25"}, Held(gpus=0.25)),
    ],
)
def test_an_engine_that_may_use_gpus_holds_all_of_its_node_unless_labels_say_otherwise(
    engine: str, labels: dict[str, str], held: Held
) -> None:
    ray_node = structs.replace(labelled(engine=engine, **{"option.speed": "5"}, **labels), gpus=2.0, cpus=8.0)
    declaration = declare(ray_node, 4)
    assert declaration is not None
    assert declaration.held == held
    assert declaration.options == {"speed": "5"}, "these two are no business of the engine's"


@pytest.mark.parametrize(
    ("name", "wrong"), [("gpus", "3"), ("gpus", "all"), ("gpus", "-1"), ("cpus", "9"), ("cpus", "")]
)
def test_more_than_ray_counts_there_cannot_be_held(name: str, wrong: str) -> None:
    ray_node = structs.replace(labelled(engine="neural", **{f"option.ray-{name}": wrong}), gpus=2.0, cpus=8.0)
    limit = {"gpus": 2, "cpus": 8}[name]
    sentence = f"ray-sched.io/option.ray-{name}={wrong!r} must be a number from 0 to {limit}, what Ray counts there"
    with pytest.raises(BadLabelError, match=re.escape(sentence)):
        declare(ray_node, 4)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (Held(), ""),
        (Held(gpus=1), "1 GPU"),
        (Held(gpus=0.5, cpus=4), "0.5 GPUs and 4 CPUs"),
        (Held(cpus=1), "1 CPU"),
    ],
)
def test_what_is_held_can_be_read(held: Held, words: str) -> None:
    assert str(held) == words


def test_of_two_nodes_with_one_name_the_second_is_left_out_and_complained_about_once() -> None:
    declarations = Declarations(4)
    listed = [a_ray_node("first-of-the-two"), a_ray_node("second-of-the-two"), a_ray_node("third", "node-b")]
    declared, complaints = declarations.handle_ray_nodes(listed, set())
    assert {name: one.ray_node for name, one in declared.items()} == {"node-a": listed[0], "node-b": listed[2]}
    assert complaints == [Log("Ray node second-o is left out: two nodes are called node-a")]
    assert declarations.handle_ray_nodes(listed, set()) == (declared, [])
    in_use, complaints = declarations.handle_ray_nodes(listed, {"second-of-the-two"})
    assert in_use["node-a"].ray_node == listed[1]
    assert complaints == [Log("Ray node first-of is left out: two nodes are called node-a")]


def test_what_declares_nothing_or_is_dead_keeps_nobody_out() -> None:
    dead = structs.replace(a_ray_node("dead"), is_alive=False)
    foreign = RayNode(ray_node_id="foreign", labels={"ray-sched.io/node": "node-a"})
    declared, complaints = Declarations(4).handle_ray_nodes([dead, foreign, a_ray_node("ray-1")], set())
    assert ({name: one.ray_node for name, one in declared.items()}, complaints) == ({"node-a": a_ray_node("ray-1")}, [])


def test_each_bad_node_is_complained_about_and_the_complaint_is_not_repeated_for_another_s_sake() -> None:
    declarations = Declarations(4)
    bad = [structs.replace(labelled(engine="echo", slots="0"), ray_node_id=f"bad-{n}") for n in range(2)]
    assert len(declarations.handle_ray_nodes(bad, set())[1]) == 2
    assert declarations.handle_ray_nodes([bad[1]], set())[1] == []
    assert [it.text for it in declarations.handle_ray_nodes(bad, set())[1]] == [
        "Ray node bad-0 is left out: ray-sched.io/slots='0' must be a number from 1 to 1024"
    ]
