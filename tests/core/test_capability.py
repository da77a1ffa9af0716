"""Capabilities and demands, and the sentence for each reason."""

import pytest

from ray_sched.core.capability import BadCapabilityError, Capability, Demand, checked, served_as, uncovered
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


WHISPER = Capability(engine="x", asr=("auto", "cs", "de", "en", "pt"), mt=("de:en", "en:pt"), tts=("en", "pt"))
"""Recognises which language is spoken, out of four."""


@pytest.mark.parametrize(
    ("src", "tgt", "services", "served"),
    [
        ("en-US", "en-US", ("asr",), ("en", "en")),
        ("en-US", "pt-BR", ("asr", "mt", "tts"), ("en", "pt")),
        ("de-Latn-CH", "en", ("asr", "mt"), ("de", "en")),
        ("en", "en", ("asr",), ("en", "en")),
        ("auto", "auto", ("asr",), ("auto", "auto")),
        ("auto", "en-GB", ("asr", "mt", "tts"), ("auto", "en")),
        ("en", "en-GB", ("asr", "tts"), ("en", "en")),
        ("es-MX", "es-MX", ("asr",), None),
        ("en", "en-GB", ("asr", "mt"), None),
        ("auto", "de", ("asr", "mt"), None),
    ],
)
def test_a_regional_tag_is_served_by_the_language_it_belongs_to(
    src: str, tgt: str, services: tuple[str, ...], served: tuple[str, str] | None
) -> None:
    demand = Demand(src=src, tgt=tgt, services=services)
    assert served_as(demand, WHISPER) == served
    assert (uncovered(demand, WHISPER) is None) == (served is not None)


def test_a_region_of_its_own_comes_before_its_language_and_a_language_is_never_served_by_a_region() -> None:
    both = Capability(engine="x", asr=("pt", "pt-BR"))
    assert served_as(Demand(src="pt-BR", tgt="pt-BR", services=("asr",)), both) == ("pt-BR", "pt-BR")
    only_brazil = Capability(engine="x", asr=("pt-BR",))
    assert uncovered(Demand(src="pt", tgt="pt", services=("asr",)), only_brazil) is Reason.ASR_LANG_UNSUPPORTED


@pytest.mark.parametrize(
    ("candidates", "tgt", "services", "lacks"),
    [
        (("de", "en"), "auto", ("asr",), None),
        (("de-AT", "en-US"), "auto", ("asr",), None),
        (("de", "es"), "auto", ("asr",), Reason.ASR_LANG_UNSUPPORTED),
        (("de", "en"), "en", ("asr", "mt"), None),
        (("cs", "de"), "en", ("asr", "mt"), Reason.LANG_PAIR_UNSUPPORTED),
    ],
)
def test_each_language_that_may_be_spoken_is_one_that_the_node_serves(
    candidates: tuple[str, ...], tgt: str, services: tuple[str, ...], lacks: Reason | None
) -> None:
    assert uncovered(Demand(src="auto", tgt=tgt, services=services, candidates=candidates), WHISPER) is lacks


def test_an_engine_that_does_not_tell_languages_apart_is_not_asked_to() -> None:
    assert uncovered(Demand(src="auto", tgt="auto", services=("asr",)), EN_ES) is Reason.ASR_LANG_UNSUPPORTED
