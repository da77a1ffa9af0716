"""Deltas: what was sent stays, and what is sent is agreed upon."""

from hypothesis import given
from hypothesis import strategies as st

from ray_sched.gateway.deltas import Deltas

words = st.lists(st.sampled_from(["he", "was", "not", "an", "ill"]), max_size=6).map(" ".join)


def test_a_word_is_sent_when_two_in_a_row_agree_on_it() -> None:
    deltas = Deltas()
    assert [deltas.add(text) for text in ("he", "he was", "he was not", "he is not", "he is not")] == [
        "",
        "he",
        " was",
        "",
        "",
    ]
    assert deltas.end("he was not an ill disposed man") == " not an ill disposed man"


def test_a_text_that_goes_another_way_sends_nothing_more() -> None:
    deltas = Deltas()
    deltas.add("he was")
    assert deltas.add("he was not") == "he was"
    assert deltas.end("she was") == ""


def test_a_word_that_grows_is_not_sent_in_parts() -> None:
    deltas = Deltas()
    deltas.add("he wa")
    deltas.add("he wa")
    assert deltas.end("he was") == ""


@given(st.lists(words, max_size=8), words)
def test_what_was_sent_is_the_beginning_of_the_text_or_all_that_was_agreed(partials: list[str], whole: str) -> None:
    deltas = Deltas()
    sent = ""
    for text in partials:
        sent += deltas.add(text)
        assert any(one.startswith(sent) for one in partials) or not sent
    last = deltas.end(whole)
    assert not last or sent + last == whole
