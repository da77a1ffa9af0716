"""Subtitles: times that carry, and texts that cannot break the file they stand in."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ray_sched.core.views.subtitles import VTT_HEAD, clock_time, srt_cue, vtt_cue


@pytest.mark.parametrize(
    ("seconds", "time"),
    [
        (0, "00:00:00.000"),
        (0.0004, "00:00:00.000"),
        (0.0006, "00:00:00.001"),
        (59.9994, "00:00:59.999"),
        (59.9996, "00:01:00.000"),
        (3599.9996, "01:00:00.000"),
        (86_399.9996, "24:00:00.000"),
        (363_599.5, "100:59:59.500"),
        (-0.0001, "00:00:00.000"),
    ],
)
def test_a_time_is_rounded_to_the_nearest_millisecond_and_carries(seconds: float, time: str) -> None:
    assert clock_time(seconds) == time


def test_a_cue_of_srt_has_a_number_commas_and_an_empty_line_behind_it() -> None:
    assert srt_cue(7, 3599.9996, 3601.25, "He might") == "7\n01:00:00,000 --> 01:00:01,250\nHe might\n\n"


def test_a_cue_of_webvtt_has_points_and_no_number() -> None:
    assert VTT_HEAD + vtt_cue(0, 1.5, "He might") == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHe might\n\n"


def test_an_empty_text_has_no_cue() -> None:
    assert (srt_cue(1, 0, 1, ""), vtt_cue(0, 1, " \n ")) == ("", "")


def test_a_text_with_lines_is_one_line_as_an_empty_one_would_end_the_cue() -> None:
    assert srt_cue(1, 0, 1, "one\n\ntwo\r\nthree").splitlines()[2:] == ["one two three", ""]


def test_marks_of_the_format_in_a_text_are_named_in_webvtt_and_the_arrow_is_shorter_in_srt() -> None:
    assert vtt_cue(0, 1, "a --> b & <c>").splitlines()[1] == "a --&gt; b &amp; &lt;c&gt;"
    assert srt_cue(1, 0, 1, "a --> b & <c>").splitlines()[2] == "a -> b & <c>"


def test_a_cue_that_ends_where_it_begins_lasts_a_millisecond() -> None:
    assert "00:00:01.000 --> 00:00:01.001" in vtt_cue(1, 1, "x")
    assert "00:00:01,000 --> 00:00:01,001" in srt_cue(1, 1.0001, 0.5, "x")


@given(text=st.text(), start_s=st.floats(0, 400_000), length_s=st.floats(0, 30))
@example(text="--->", start_s=0, length_s=1)
@example(text="-----> -->", start_s=0, length_s=1)
@example(text="a\x0b\x1c\x85\u2028b", start_s=0, length_s=1)
def test_whatever_the_text_a_cue_has_one_line_of_times_and_one_of_text(
    text: str, start_s: float, length_s: float
) -> None:
    time = r"\d{2,}:\d\d:\d\d[.,]\d{3}"
    for lines in (
        srt_cue(1, start_s, start_s + length_s, text).removeprefix("1\n").split("\n"),
        vtt_cue(start_s, start_s + length_s, text).split("\n"),
    ):
        if lines == [""]:
            assert not text.split()
            continue
        assert [bool(re.fullmatch(f"{time} --> {time}", line)) for line in lines] == [True, False, False, False]
        assert "-->" not in lines[1]
        assert lines[1].strip()
        assert lines[2:] == ["", ""]
