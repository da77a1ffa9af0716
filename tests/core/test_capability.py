"""Capabilities and demands, and the sentence for each reason."""

import pytest

from ray_sched.core.capability import Capability, Demand, uncovered
from ray_sched.core.reasons import SENTENCE, Reason
from tests.support.builders import EN_ES


@pytest.mark.parametrize(
    ("demand", "lacks"),
    [
        (Demand(src="en", tgt="es", services=("asr", "mt", "tts")), None),
        (Demand(src="es", tgt="en", services=("asr", "mt")), Reason.ASR_LANG_UNSUPPORTED),
        (Demand(src="en", tgt="fr", services=("asr", "mt")), Reason.LANG_PAIR_UNSUPPORTED),
        (Demand(src="en", tgt="en", services=("asr", "tts")), Reason.TTS_LANG_UNSUPPORTED),
        (Demand(src="en", tgt="en", services=("asr",), needs_gpu=True), Reason.GPU_REQUIRED),
        (Demand(src="en", tgt="en", services=("asr",), tenant="acme"), None),
    ],
)
def test_a_capability_covers_a_demand_or_lacks_something(demand: Demand, lacks: Reason | None) -> None:
    assert uncovered(demand, EN_ES) is lacks


def test_any_stands_for_every_language_on_its_side_of_a_pair() -> None:
    into_english = Capability(engine="x", mt=("any:en",))
    assert into_english.translates("de", "en")
    assert not into_english.translates("en", "de")
    assert Capability(engine="x", mt=("any:any",)).translates("a", "b")


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCE) == set(Reason)
