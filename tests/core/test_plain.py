"""What strangers named, as it is shown: nothing acts on a terminal or a log."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.plain import plain, plain_lines

TITLE = "\x1b]0;yours\x07"
DIRECTION = "\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("austen-0880.wav", "austen-0880.wav"),
        ("Fräulein 日本語 👩‍🚀", "Fräulein 日本語 👩‍🚀"),
        (f"a{TITLE}b", r"a\x1b]0;yours\x07b"),
        ("a\nERROR forged\r\tb", r"a\nERROR forged\r\tb"),
        (f"gpj.{DIRECTION}exe", r"gpj.\u202eexe"),
        ("\x9b31m", r"\x9b31m"),
        ("b\udcff", r"b\udcff"),
        ("a\u2028b", r"a\u2028b"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_acts_is_shown_by_its_escape(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_what_is_shown_has_no_controls_and_is_shown_again_as_it_is(text: str) -> None:
    shown = plain(text)
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(character) for character in shown}
    assert plain(shown) == shown
    assert plain_lines(f"{shown}\n{shown}") == f"{shown}\n{shown}"


def test_a_traceback_keeps_its_lines() -> None:
    assert plain_lines(f"Traceback:\n\tin x\n{TITLE}") == "Traceback:\n\tin x\n" + r"\x1b]0;yours\x07"


def test_an_error_is_printed_plainly_and_tells_programs_what_was_said() -> None:
    error = SchedError(Code.INVALID_AUDIO, f"{TITLE} cannot be read")
    assert str(error) == r"\x1b]0;yours\x07 cannot be read"
    assert error.message == f"{TITLE} cannot be read"
