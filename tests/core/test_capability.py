"""Capabilities and demands, and the sentence for each reason."""

import pytest

from ray_sched.core.capability import BadCapabilityError, Capability, Demand, checked, uncovered
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


@pytest.mark.parametrize(
    ("demand", "capability", "lacks"),
    [
        (
            Demand(src="fr", tgt="fr", services=("asr", "tts"), tenant="other", needs_gpu=True),
            Capability(engine="x", tenant="acme"),
            Reason.TENANT_MISMATCH,
        ),
        (
            Demand(src="fr", tgt="fr", services=("asr", "tts"), tenant="acme", needs_gpu=True),
            Capability(engine="x", asr=("en",), tenant="acme"),
            Reason.SERVICE_MISSING,
        ),
        (
            Demand(src="fr", tgt="de", services=("asr", "mt", "tts"), needs_gpu=True),
            EN_ES,
            Reason.ASR_LANG_UNSUPPORTED,
        ),
        (
            Demand(src="en", tgt="de", services=("asr", "mt", "tts"), needs_gpu=True),
            EN_ES,
            Reason.LANG_PAIR_UNSUPPORTED,
        ),
        (Demand(src="es", tgt="en", services=("tts",), needs_gpu=True), EN_ES, Reason.TTS_LANG_UNSUPPORTED),
        (Demand(src="fr", tgt="es", services=("tts",)), EN_ES, None),
        (
            Demand(src="en", tgt="en", services=("asr",), tenant="acme", needs_gpu=True),
            Capability(engine="x", asr=("en",), tenant="acme", has_gpu=True),
            None,
        ),
    ],
)
def test_of_all_that_a_capability_lacks_the_first_is_named(
    demand: Demand, capability: Capability, lacks: Reason | None
) -> None:
    assert uncovered(demand, capability) is lacks


def test_any_stands_for_every_language_on_its_side_of_a_pair() -> None:
    into_english = Capability(engine="x", mt=("any:en",))
    assert into_english.translates("de", "en")
    assert not into_english.translates("en", "de")
    from_english = Capability(engine="x", mt=("en:any",))
    assert from_english.translates("en", "de")
    assert not from_english.translates("de", "en")
    assert Capability(engine="x", mt=("de:en",)).translates("de", "en")
    assert Capability(engine="x", mt=("any:any",)).translates("a", "b")


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCE) == set(Reason)


def test_what_an_engine_says_is_sorted_and_said_once() -> None:
    told = Capability(
        engine="x", asr=("es", "en", "es"), mt=("es:en", "en:es"), tts=("es",), tenant="acme", has_gpu=True
    )
    assert checked(told) == Capability(
        engine="x", asr=("en", "es"), mt=("en:es", "es:en"), tts=("es",), tenant="acme", has_gpu=True
    )


@pytest.mark.parametrize(
    ("told", "field"),
    [
        (Capability(engine="x", asr=("English",)), r"\$\.asr\[0\]"),
        (Capability(engine="no name"), r"\$\.engine"),
        (Capability(engine="x", asr=(object(),)), "object"),  # type: ignore[arg-type]  # engines may say anything
    ],
)
def test_what_cannot_be_is_refused_with_the_field(told: Capability, field: str) -> None:
    with pytest.raises(BadCapabilityError, match=rf"\Athe engine's capability cannot be: .*{field}"):
        checked(told)


def test_a_refusal_of_a_capability_is_one_short_sentence() -> None:
    with pytest.raises(BadCapabilityError) as caught:
        checked(Capability(engine="x", has_gpu="y" * 1_000))  # type: ignore[arg-type]  # engines may say anything
    assert len(str(caught.value)) <= len("the engine's capability cannot be: ") + 200


def test_the_name_of_a_capability_says_all_of_it_while_that_is_short() -> None:
    told = Capability(engine="x", asr=("de", "en"), mt=("de:en",), tts=("en",), tenant="acme", has_gpu=True)
    assert told.text() == "x/asr=de.en/mt=de:en/tts=en/tenant=acme/gpu"
    assert told.services == {"asr", "mt", "tts"}
    assert Capability(engine="x").text() == "x"


def test_the_name_of_a_capability_of_many_languages_counts_them_and_is_its_own() -> None:
    fits = Capability(engine="x" * 40, asr=tuple(f"a{letter}" for letter in "abcdefghijklmnopqrstuvwxyzab"))
    assert len(fits.text()) == 40 + len("/asr=") + 28 * 3 - 1 == 128
    one_more = Capability(engine="x" * 41, asr=fits.asr)
    name, _, fingerprint = one_more.text().rpartition("/")
    assert name == "x" * 41 + "/asr=28-languages"
    assert len(fingerprint) == 16
    assert one_more.text() != Capability(engine="x" * 41, asr=("en", *fits.asr[1:])).text()
