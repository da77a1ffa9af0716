"""Splitting: utterances in order, none too long, no speech lost and none twice."""

from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ray_sched.core.split.rules import WINDOW_SAMPLES, SplitRules
from ray_sched.core.split.splitter import Span, Splitter

SPEECH, UNSURE, SILENCE = 0.9, 0.4, 0.1


def split(probabilities: list[float], rules: SplitRules | None = None) -> list[Span]:
    splitter = Splitter(rules)
    spans = [splitter.add(probability) for probability in probabilities] + [splitter.end()]
    return [span for span in spans if span]


def test_two_sentences_with_a_pause_are_two_utterances_with_a_little_silence_on_both_sides() -> None:
    recording = [SILENCE] * 20 + [SPEECH] * 50 + [SILENCE] * 40 + [SPEECH] * 30 + [SILENCE] * 20
    assert split(recording) == [Span(14, 76), Span(104, 146)]


def test_a_recording_that_begins_and_ends_in_speech_is_one_utterance_from_its_first_window_to_its_last() -> None:
    assert split([SPEECH] * 50) == [Span(0, 50)]
    assert split([SILENCE] * 2 + [SPEECH] * 50 + [SILENCE] * 3) == [Span(0, 55)]


def test_silence_and_nothing_at_all_have_no_utterance() -> None:
    assert (split([SILENCE] * 2_000), split([]), split([UNSURE] * 2_000)) == ([], [], [])


def test_a_short_pause_does_not_end_an_utterance_and_one_of_half_a_second_does() -> None:
    assert split([SPEECH] * 10 + [SILENCE] * 15 + [SPEECH] * 10) == [Span(0, 35)]
    assert split([SPEECH] * 10 + [SILENCE] * 16 + [SPEECH] * 10) == [Span(0, 16), Span(20, 36)]


def test_what_is_between_the_thresholds_goes_on_as_it_was() -> None:
    assert split([UNSURE] * 30 + [SPEECH] * 10 + [UNSURE] * 30 + [SILENCE] * 30) == [Span(24, 76)]
    assert split([SPEECH] * 10 + [SILENCE] + [UNSURE] * 15 + [SPEECH] * 10) == [Span(0, 16), Span(20, 36)]


def test_a_click_is_no_utterance_and_three_windows_are_one() -> None:
    assert split([SILENCE] * 30 + [SPEECH] * 2 + [SILENCE] * 30) == []
    assert split([SILENCE] * 30 + [SPEECH] * 3 + [SILENCE] * 30) == [Span(24, 39)]


def test_speech_without_a_pause_is_cut_at_its_least_probable_place_within_the_last_ten_seconds() -> None:
    recording = [SPEECH] * 300 + [0.6] + [SPEECH] * 399 + [0.7] + [SPEECH] * 299
    assert split(recording) == [Span(0, 701), Span(701, 1_000)]


def test_a_cut_in_a_pause_leaves_the_rest_of_the_pause_away() -> None:
    assert split([SPEECH] * 925 + [SILENCE] * 40 + [SPEECH] * 20) == [Span(0, 931), Span(959, 985)]


def test_what_is_left_behind_a_cut_is_no_click_however_short() -> None:
    assert split([SPEECH] * 938 + [SILENCE] * 40) == [Span(0, 937), Span(937, 944)]
    assert split([SPEECH] * 937 + [SILENCE] * 40) == [Span(0, 937)]


def test_no_utterance_is_longer_than_thirty_seconds() -> None:
    spans = split([SPEECH] * 10_000)
    assert max(span.end - span.begin for span in spans) * WINDOW_SAMPLES <= 30 * 16_000
    assert [span.begin for span in spans] == [0, *(span.end for span in spans[:-1])]
    assert spans[-1].end == 10_000


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"silence_below": 0.6}, "silence_below must be from 0 to speech_at"),
        ({"speech_at": 1.1}, "speech_at at most 1"),
        ({"min_speech": 0}, "min_speech and min_silence must be at least 1"),
        ({"pad_after": 17}, "pad_after must be from 0 to min_silence"),
        ({"search": 937}, "max_windows must be more than search"),
        ({"min_silence": 937}, "max_windows must be more than search"),
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SplitRules(**wrong)  # type: ignore[arg-type]  # the point of the test


@st.composite
def some_rules(draw: st.DrawFn) -> SplitRules:
    min_silence = draw(st.integers(1, 8))
    pad_before = draw(st.integers(0, 10))
    search = draw(st.integers(1, 12))
    return SplitRules(
        min_speech=draw(st.integers(1, 4)),
        min_silence=min_silence,
        pad_before=pad_before,
        pad_after=draw(st.integers(0, min_silence)),
        search=search,
        max_windows=max(min_silence, pad_before, search) + draw(st.integers(1, 20)),
    )


class SplitMachine(RuleBasedStateMachine):
    """A recording of any kind, with any rules; what must hold is asked after each part of it."""

    @initialize(rules=some_rules())
    def begin(self, rules: SplitRules) -> None:
        self.by = rules
        self.splitter = Splitter(rules)
        self.heard: list[float] = []
        self.spans: list[Span] = []
        self.has_ended = False

    def add(self, probabilities: list[float]) -> None:
        for probability in probabilities if not self.has_ended else []:
            kept = self.splitter.keep_from
            self.heard.append(probability)
            self.note(self.splitter.add(probability), kept)

    def note(self, span: Span | None, kept: int) -> None:
        if span:
            assert span.begin >= kept, "an utterance begins with what was let go"
            assert span.end <= len(self.heard)
            self.spans.append(span)
        assert kept <= self.splitter.keep_from <= len(self.heard)

    @rule(n=st.integers(1, 12), probability=st.sampled_from([0.0, 0.1, 0.34, 0.35, 0.49, 0.5, 0.8, 1.0]))
    def goes_on(self, n: int, probability: float) -> None:
        self.add([probability] * n)

    @rule(probabilities=st.lists(st.floats(0, 1), max_size=30))
    def changes(self, probabilities: list[float]) -> None:
        self.add(probabilities)

    @rule()
    def ends(self) -> None:
        if not self.has_ended:
            kept = self.splitter.keep_from
            self.note(self.splitter.end(), kept)
            self.has_ended = True

    def spoken(self) -> list[int]:
        return [number for number, probability in enumerate(self.heard) if probability >= self.by.speech_at]

    @invariant()
    def never_out_of_order_and_no_window_twice(self) -> None:
        assert all(before.end <= after.begin for before, after in pairwise(self.spans))

    @invariant()
    def never_empty_and_never_too_long(self) -> None:
        assert all(0 < span.end - span.begin <= self.by.max_windows for span in self.spans)

    @invariant()
    def never_without_a_voice(self) -> None:
        least = self.by.silence_below
        assert all(max(self.heard[span.begin : span.end]) >= least for span in self.spans)

    @invariant()
    def never_speech_outside_unless_it_is_a_click(self) -> None:
        inside = {number for span in self.spans for number in range(span.begin, span.end)}
        limit = len(self.heard) if self.has_ended else self.splitter.keep_from
        n_in_click, last = 0, -1_000
        for number in self.spoken():
            if number in inside or number >= limit:
                n_in_click = 0
                continue
            n_in_click = n_in_click + 1 if number - last <= self.by.min_silence else 1
            last = number
            assert n_in_click < self.by.min_speech

    @invariant()
    def never_more_silence_than_the_padding_at_either_end(self) -> None:
        ends = {span.end for span in self.spans}
        for span in self.spans:
            voiced = [n for n in range(span.begin, span.end) if self.heard[n] >= self.by.silence_below]
            assert span.end - 1 - voiced[-1] <= self.by.pad_after or span.end - span.begin >= (
                self.by.max_windows - self.by.search
            )
            assert voiced[0] - span.begin <= self.by.pad_before or span.begin in ends


TestSplit = SplitMachine.TestCase
