"""What a node offers of what its engine can do."""

import pytest

from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import BadCapabilityError, Capability, Offer, offered
from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.nodes.declarations import RayNode, declare
from tests.support.agent_harness import AgentHarness

BOTH = Capability(engine="neural", asr=("de", "en"), mt=("de:en",))


def test_all_leaves_the_languages_to_the_engine_and_services_leaves_some_of_them_out() -> None:
    said = {"engine": "neural", "asr": "all", "mt": "all", "services": "asr"}
    labels = {f"ray-sched.io/{name}": value for name, value in said.items()}
    declaration = declare(RayNode(ray_node_id="ray-1", labels=labels), 4)
    assert declaration is not None
    assert (declaration.capability.asr, declaration.capability.mt) == ((), ())
    assert declaration.offer == Offer(services=("asr",), found=("asr", "mt"))
    assert offered(BOTH, declaration.offer) == Capability(engine="neural", asr=("de", "en"))


def test_without_either_all_is_offered() -> None:
    assert offered(BOTH, Offer()) is BOTH


SILENT = (
    "tts=all leaves it to engine neural to say which languages it has, and it names none: name them, or give it a model"
    " for tts"
)


@pytest.mark.parametrize(
    ("offer", "sentence"),
    [
        (
            Offer(found=("tts",)),
            SILENT,
        ),
        (Offer(services=("asr", "tts")), "services names tts, but engine neural has asr, mt here"),
    ],
)
def test_an_engine_that_has_not_what_was_declared_makes_its_node_unhealthy_and_says_so(
    offer: Offer, sentence: str
) -> None:
    with pytest.raises(BadCapabilityError) as caught:
        offered(BOTH, offer)
    assert str(caught.value) == sentence
    brain = AgentBrain(AgentOptions(node="a", incarnation=1, slots=1, offer=offer), AgentHarness())
    brain.engine_loaded(BOTH)
    beat = brain.heartbeat(Load(), "")
    assert (beat.is_loaded, beat.is_healthy, beat.why) == (False, False, sentence)
