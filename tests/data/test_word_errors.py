import pytest

from ray_sched.data import samples
from ray_sched.data.word_errors import normalised, word_error_rate


def test_the_same_words_have_no_errors() -> None:
    assert word_error_rate([("he was not", "he was not")]) == 0.0


def test_case_punctuation_and_spaces_do_not_count() -> None:
    assert word_error_rate([("Don't -- stop, cold-hearted!", "dont  stop cold hearted")]) == 0.0
    assert normalised("¿Qué?  it\u2019s") == "qué its"


def test_errors_are_counted_over_all_words_of_all_pairs() -> None:
    assert word_error_rate([("one two three four", "one too three"), ("five six", "five six")]) == pytest.approx(2 / 6)


def test_invented_words_can_make_it_more_than_one() -> None:
    assert word_error_rate([("one", "two three")]) == 2.0


def test_words_heard_in_silence_count() -> None:
    assert word_error_rate([("one two", "one two"), ("", "three")]) == 0.5


@pytest.mark.parametrize("pairs", [[], [("", "")], [("...", "one")]])
def test_without_a_word_of_reference_there_is_no_rate(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        word_error_rate(pairs)


def test_the_shipped_samples_are_there() -> None:
    assert [sample.path.name[:11] for sample in samples()] == [
        f"austen-{n}" for n in ("0870", "0880", "0890", "0920", "0930")
    ]
    assert all(sample.path.is_file() and sample.language == "en" for sample in samples())
    assert samples()[1].transcript == "he was not an ill disposed young man"
