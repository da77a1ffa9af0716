"""Words are told once two hypotheses agree on them, and never taken back."""

from hypothesis import given
from hypothesis import strategies as st

from ray_sched.agent.engines.agreement import LocalAgreement

HYPOTHESES = st.lists(st.lists(st.sampled_from(["he", "He", "was", "was,", "not", "-"]), max_size=6).map(" ".join))


def test_the_end_that_changes_is_not_told() -> None:
    agreement = LocalAgreement()
    told = [
        agreement.add(text) for text in ("He was no", "He was not a", "He was not an ill", "he was not an ill man.")
    ]
    assert told == ["", "He was", "He was not", "He was not an ill"]


def test_what_was_told_stays_when_the_model_thinks_otherwise() -> None:
    agreement = LocalAgreement()
    for text in ("He was not", "He was not"):
        agreement.add(text)
    assert agreement.add("We were") == "He was not"
    assert agreement.add("We were here all day") == "He was not"
    assert agreement.add("He was not here all day") == "He was not"
    assert agreement.add("He was not here all night") == "He was not here all"


def test_capitals_and_punctuation_do_not_matter() -> None:
    agreement = LocalAgreement()
    agreement.add("Oh. Well")
    assert agreement.add("oh, well then") == "oh, well"


@given(HYPOTHESES)
def test_each_text_goes_on_from_the_one_before(hypotheses: list[str]) -> None:
    agreement, before = LocalAgreement(), ""
    for text in hypotheses:
        told = agreement.add(text)
        assert told == before or told.startswith(f"{before} ".lstrip())
        before = told


@given(st.lists(st.sampled_from(["he", "was", "not"]), min_size=1, max_size=6).map(" ".join))
def test_what_is_said_twice_is_told(text: str) -> None:
    agreement = LocalAgreement()
    agreement.add(text)
    assert agreement.add(text) == text
