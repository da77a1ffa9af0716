"""Words are told once two hypotheses agree on them, and never taken back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_sched.core.agreement import LocalAgreement, as_heard, as_written

WORDS = st.lists(st.sampled_from(["he", "He", "was", "was,", "not", "-"]), max_size=6).map(" ".join)
EQUALITIES = st.sampled_from([as_written, as_heard])
Key = Callable[[str], str]


def told(key: Key, *hypotheses: str) -> list[str]:
    agreement = LocalAgreement(key)
    return [agreement.add(text) for text in hypotheses]


@pytest.mark.parametrize("key", [as_written, as_heard])
def test_the_end_that_changes_is_not_told(key: Key) -> None:
    hypotheses = ("He was no", "He was not a", "He was not an ill", "He was not an ill man.")
    assert told(key, *hypotheses) == ["", "He was", "He was not", "He was not an ill"]


@pytest.mark.parametrize("key", [as_written, as_heard])
def test_what_was_told_stays_and_goes_on_when_the_model_says_it_again(key: Key) -> None:
    hypotheses = ("He was not", "He was not", "We were", "We were here all day", "He was not here all day")
    assert told(key, *hypotheses)[1:] == ["He was not"] * 4
    assert told(key, *hypotheses, "He was not here all night")[-1] == "He was not here all"


@pytest.mark.parametrize("key", [as_written, as_heard])
def test_two_that_agree_on_another_beginning_add_nothing_to_what_was_told(key: Key) -> None:
    assert told(key, "He was not", "He was not", "We were here all day", "We were here all day")[-1] == "He was not"


def test_capitals_and_punctuation_matter_where_texts_are_appended_and_not_where_they_are_heard() -> None:
    assert told(as_heard, "Oh. Well", "oh, well then") == ["", "oh, well"]
    assert told(as_written, "Oh. Well", "oh, well then") == ["", ""]


@given(EQUALITIES, st.lists(WORDS))
def test_each_text_goes_on_from_the_one_before(key: Key, hypotheses: list[str]) -> None:
    before = ""
    for text in told(key, *hypotheses):
        assert text == before or text.startswith(f"{before} ".lstrip())
        before = text


@given(EQUALITIES, WORDS)
def test_what_is_said_twice_is_told(key: Key, text: str) -> None:
    assert told(key, text, text)[-1] == text
