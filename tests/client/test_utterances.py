"""Cutting: the samples of the recording itself, whatever the blocks are, and no more memory than one utterance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_sched.client.utterances import Cutter, Utterance
from ray_sched.wire.samples import Samples
from tests.support.recordings import RATE, LoudIsSpeech, in_blocks, silence


def cut(blocks: list[Samples]) -> list[Utterance]:
    cutter = Cutter(LoudIsSpeech())
    return [utterance for block in blocks for utterance in cutter.add(block)] + cutter.end()


def noise(seconds: float) -> Samples:
    return np.random.default_rng(1).integers(1, 1_000, round(seconds * RATE)).astype(np.int16)


RECORDING = np.concatenate([silence(1), noise(2), silence(0.3), noise(1), silence(1.1), noise(3.3), silence(0.01)])


def test_an_utterance_has_the_samples_and_the_place_of_the_recording() -> None:
    first, second = cut([RECORDING])
    assert (first.number, second.number) == (0, 1)
    assert (first.start_s, first.end_s) == pytest.approx((1 - 0.2, 4.3 + 0.2), abs=0.032)
    assert (second.start_s, second.end_s) == pytest.approx((5.4 - 0.2, 8.71), abs=0.032)
    assert second.first_sample + len(second.samples) == len(RECORDING)
    for one in (first, second):
        assert np.array_equal(one.samples, RECORDING[one.first_sample : one.first_sample + len(one.samples)])


@given(cuts=st.lists(st.integers(0, len(RECORDING)), max_size=20))
def test_the_utterances_are_the_same_whatever_the_blocks_are(cuts: list[int]) -> None:
    blocks = np.split(RECORDING, sorted(cuts))
    assert [(u.number, u.first_sample, u.samples.tobytes()) for u in cut(blocks)] == [
        (u.number, u.first_sample, u.samples.tobytes()) for u in cut([RECORDING])
    ]


def test_an_utterance_does_not_change_with_the_array_it_came_from() -> None:
    block = RECORDING.copy()
    first = cut([block])[0]
    block[:] = 7
    assert np.array_equal(first.samples, RECORDING[first.first_sample :][: len(first.samples)])


@pytest.mark.parametrize("recording", [silence(0), silence(0.001), silence(5)])
def test_a_recording_in_which_nobody_speaks_has_no_utterance(recording: Samples) -> None:
    assert cut([recording]) == []


def test_a_recording_shorter_than_a_window_is_heard_to_its_end() -> None:
    cutter = Cutter(detector := LoudIsSpeech())
    cutter.add(noise(0.02))
    assert (detector.n_heard, cutter.end(), detector.n_heard) == (0, [], 512)


def test_never_more_is_held_than_the_longest_utterance_and_a_block() -> None:
    cutter = Cutter(LoudIsSpeech())
    longest = 0
    for block in in_blocks(np.concatenate([noise(100), silence(100)])):
        cutter.add(block)
        longest = max(longest, cutter.n_held)
    assert 20 * RATE < longest <= 30 * RATE
    assert cutter.n_held < RATE
