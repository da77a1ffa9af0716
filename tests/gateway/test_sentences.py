"""A text in pieces that are spoken one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from ray_sched.gateway.sentences import MOST_LETTERS, pieces


def test_sentences_end_where_they_end_and_short_ones_go_together() -> None:
    text = "He was not. An ill disposed young man, unless to be rather cold hearted is to be ill disposed! Was he?"
    assert pieces(text) == [
        "He was not. An ill disposed young man, unless to be rather cold hearted is to be ill disposed!",
        "Was he?",
    ]
    assert pieces("彼は冷たい。") == ["彼は冷たい。"]
    assert pieces("  \n ") == []


def test_a_sentence_without_end_is_cut_where_one_breathes() -> None:
    first, second = pieces("word " * 78 + "go comma, " + "word " * 20)
    assert (len(first), first[-9:], second[:9]) == (399, "go comma,", "word word")
    assert [len(part) for part in pieces("x" * 1_000)] == [400, 400, 200]


@given(st.text(st.sampled_from("ab .,!?。\n'\"x"), max_size=1_500))
def test_no_letter_is_lost_and_no_piece_is_too_long(text: str) -> None:
    found = pieces(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(part) <= MOST_LETTERS for part in found)
