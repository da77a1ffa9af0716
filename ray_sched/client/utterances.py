"""Utterances of a recording from its blocks of samples, in the memory of the longest one and one block."""

import numpy as np
from msgspec import Struct

from ray_sched.client.voice import VoiceDetector
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.core.split.rules import WINDOW_SAMPLES, SplitRules
from ray_sched.core.split.splitter import Span, Splitter
from ray_sched.wire.samples import Samples


class Utterance(Struct, frozen=True):
    """What was said between two pauses."""

    number: int
    """From 0, without holes."""
    first_sample: int
    """From the beginning of the recording."""
    samples: Samples
    """A copy, which belongs to whoever gets it."""

    @property
    def start_s(self) -> float:
        """Where it begins in the recording."""
        return self.first_sample / SAMPLE_RATE_HZ

    @property
    def end_s(self) -> float:
        """Where it ends in the recording."""
        return (self.first_sample + len(self.samples)) / SAMPLE_RATE_HZ


class Cutter:
    """Cuts one recording into utterances. Blocks the thread it is called in, as the detector does.

    The last window, if it is not a whole one, is filled with silence for the detector, which no utterance has.
    """

    def __init__(self, detector: VoiceDetector, rules: SplitRules | None = None) -> None:
        self._detector = detector
        self._splitter = Splitter(rules)
        self._held: Samples = np.zeros(0, np.int16)
        self._held_from = 0
        self._n_judged = 0
        """Samples that the detector has heard."""
        self._n_heard = 0
        self._n_given = 0

    def add(self, block: Samples) -> list[Utterance]:
        """The recording goes on with this, of any length. The utterances that have ended in it."""
        self._n_heard += len(block)
        self._held = np.concatenate([self._held, block])
        utterances = self._judge(len(self._unjudged) // WINDOW_SAMPLES * WINDOW_SAMPLES)
        kept_from = min(self._splitter.keep_from * WINDOW_SAMPLES, self._n_judged)
        self._held, self._held_from = self._held[kept_from - self._held_from :].copy(), kept_from
        return utterances

    def end(self) -> list[Utterance]:
        """The recording has ended. The utterances that have ended with it."""
        n_left = len(self._unjudged)
        utterances: list[Utterance] = []
        if n_left:
            self._held = np.concatenate([self._held, np.zeros(WINDOW_SAMPLES - n_left, np.int16)])
            utterances = self._judge(WINDOW_SAMPLES)
        last = self._splitter.end()
        return [*utterances, *([self._utterance(last)] if last else [])]

    @property
    def n_held(self) -> int:
        """Samples that are in memory."""
        return len(self._held)

    @property
    def _unjudged(self) -> Samples:
        return self._held[self._n_judged - self._held_from :]

    def _judge(self, n_samples: int) -> list[Utterance]:
        if n_samples == 0:
            return []
        probabilities = self._detector.probabilities(self._unjudged[:n_samples])
        self._n_judged += n_samples
        spans = [self._splitter.add(probability) for probability in probabilities]
        return [self._utterance(span) for span in spans if span]

    def _utterance(self, span: Span) -> Utterance:
        begin, end = span.begin * WINDOW_SAMPLES, min(span.end * WINDOW_SAMPLES, self._n_heard)
        samples = self._held[begin - self._held_from : end - self._held_from].copy()
        self._n_given += 1
        return Utterance(self._n_given - 1, begin, samples)
