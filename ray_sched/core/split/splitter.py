"""The splitter: from the probability that each window of a recording is speech to utterances.

It is given one probability after the other and answers with the utterances that have ended with it. It never sees a
sample and knows no time but the number of windows. Utterances are in order and share no window. Each window of speech
is in one of them, unless there is so little of it between two pauses that it is a click. None is longer than the
rules allow: one that would be is cut at its least probable place, and goes on there without a hole.
"""

from enum import StrEnum, auto

from msgspec import Struct

from ray_sched.core.split.rules import SplitRules


class VoiceState(StrEnum):
    """What is going on in the recording."""

    QUIET = auto()
    SPEAKING = auto()
    PAUSING = auto()


class VoiceEvent(StrEnum):
    """What a window brings, or what the splitter makes of many."""

    SPEECH = auto()
    UNSURE = auto()
    SILENCE = auto()
    PAUSE_LONG_ENOUGH = auto()
    CUT_IN_PAUSE = auto()


VOICE_TABLE: dict[VoiceState, dict[VoiceEvent, VoiceState]] = {
    VoiceState.QUIET: {
        VoiceEvent.SPEECH: VoiceState.SPEAKING,
        VoiceEvent.UNSURE: VoiceState.QUIET,
        VoiceEvent.SILENCE: VoiceState.QUIET,
    },
    VoiceState.SPEAKING: {
        VoiceEvent.SPEECH: VoiceState.SPEAKING,
        VoiceEvent.UNSURE: VoiceState.SPEAKING,
        VoiceEvent.SILENCE: VoiceState.PAUSING,
    },
    VoiceState.PAUSING: {
        VoiceEvent.SPEECH: VoiceState.SPEAKING,
        VoiceEvent.UNSURE: VoiceState.PAUSING,
        VoiceEvent.SILENCE: VoiceState.PAUSING,
        VoiceEvent.PAUSE_LONG_ENOUGH: VoiceState.QUIET,
        VoiceEvent.CUT_IN_PAUSE: VoiceState.QUIET,
    },
}


class Span(Struct, frozen=True):
    """An utterance in windows from the beginning of the recording."""

    begin: int
    end: int
    """Exclusive."""


class Splitter:
    """The splitting of one recording."""

    def __init__(self, rules: SplitRules | None = None) -> None:
        self._rules = rules or SplitRules()
        self.state = VoiceState.QUIET
        self._n_seen = 0
        self._free_from = 0
        """Windows before this one belong to an utterance that was given out."""
        self._begin = 0
        self._probabilities: list[float] = []
        """From the first window of speech on, or from where the utterance before was cut."""
        self._last_spoken = -1
        self._goes_on = False
        """The utterance continues one that was cut, so that it is no click however short."""

    @property
    def keep_from(self) -> int:
        """No utterance that is still to come begins before this window."""
        return self._next_begin() if self.state is VoiceState.QUIET else self._begin

    def add(self, probability: float) -> Span | None:
        """How probable it is, from 0 to 1, that the next window is speech. The utterance that has ended, if any."""
        if self.state is VoiceState.QUIET:
            self._begin, self._probabilities = self._next_begin(), []
        self._fire(self._event(probability))
        self._n_seen += 1
        if self.state is VoiceState.QUIET:
            return None
        self._probabilities.append(probability)
        if self.state is VoiceState.SPEAKING:
            self._last_spoken = self._n_seen - 1
        return self._ended()

    def end(self) -> Span | None:
        """The recording has ended. The utterance that has ended with it, if any."""
        if self.state is VoiceState.QUIET:
            return None
        self.state = VoiceState.QUIET
        return self._give(min(self._last_spoken + 1 + self._rules.pad_after, self._n_seen))

    def _next_begin(self) -> int:
        return max(self._free_from, self._n_seen - self._rules.pad_before)

    def _event(self, probability: float) -> VoiceEvent:
        if probability >= self._rules.speech_at:
            return VoiceEvent.SPEECH
        return VoiceEvent.SILENCE if probability < self._rules.silence_below else VoiceEvent.UNSURE

    def _fire(self, event: VoiceEvent) -> None:
        self.state = VOICE_TABLE[self.state][event]

    def _ended(self) -> Span | None:
        n_silent = self._n_seen - 1 - self._last_spoken
        if self.state is VoiceState.PAUSING and n_silent >= self._rules.min_silence:
            self._fire(VoiceEvent.PAUSE_LONG_ENOUGH)
            return self._give(self._last_spoken + 1 + self._rules.pad_after)
        if self._n_seen - self._begin >= self._rules.max_windows:
            return self._cut()
        return None

    def _give(self, end: int) -> Span | None:
        """The utterance up to here, unless it is a click, or nothing was said since it was cut."""
        n_spoken = sum(probability >= self._rules.speech_at for probability in self._probabilities)
        is_utterance = self._last_spoken >= self._begin and (self._goes_on or n_spoken >= self._rules.min_speech)
        self._goes_on = False
        if not is_utterance:
            return None
        self._free_from = end
        return Span(self._begin, end)

    def _cut(self) -> Span:
        """The utterance up to its least probable place of late, the last of them; what is behind it goes on."""
        candidates = self._probabilities[-self._rules.search :]
        n_behind = candidates[::-1].index(min(candidates))
        span = Span(self._begin, self._n_seen - n_behind)
        if self.state is VoiceState.PAUSING and self._last_spoken < span.end:
            self._fire(VoiceEvent.CUT_IN_PAUSE)
            self._goes_on = False
            span = Span(span.begin, min(span.end, self._last_spoken + 1 + self._rules.pad_after))
        else:
            self._begin, self._goes_on = span.end, True
            self._probabilities = self._probabilities[len(self._probabilities) - n_behind :]
        self._free_from = span.end
        return span
