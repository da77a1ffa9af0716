"""The voice machine: from the probability that each window is speech to where speech begins and has ended.

A single loud window is a click; between speech and silence there is a band in which it goes on as it was. It knows
no sample and no time but positions.
"""

from enum import StrEnum, auto

from ray_sched.core.turns.rules import SAMPLES_PER_MS, WINDOW_SAMPLES, TurnRules


class VoiceState(StrEnum):
    """What is going on in the session."""

    QUIET = auto()
    RISING = auto()
    """Speech, but not enough of it to be no click."""
    SPEAKING = auto()
    PAUSING = auto()


class VoiceEvent(StrEnum):
    """What a window brings, or what follows from many."""

    SPEECH = auto()
    UNSURE = auto()
    SILENCE = auto()
    SPEECH_LONG_ENOUGH = auto()
    PAUSE_LONG_ENOUGH = auto()


VOICE_TABLE: dict[VoiceState, dict[VoiceEvent, VoiceState]] = {
    VoiceState.QUIET: {
        VoiceEvent.SPEECH: VoiceState.RISING,
        VoiceEvent.UNSURE: VoiceState.QUIET,
        VoiceEvent.SILENCE: VoiceState.QUIET,
    },
    VoiceState.RISING: {
        VoiceEvent.SPEECH: VoiceState.RISING,
        VoiceEvent.UNSURE: VoiceState.RISING,
        VoiceEvent.SILENCE: VoiceState.QUIET,
        VoiceEvent.SPEECH_LONG_ENOUGH: VoiceState.SPEAKING,
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
    },
}


class Voice:
    """Where somebody speaks in one session."""

    def __init__(self) -> None:
        self.state = VoiceState.QUIET
        self.began_at = 0
        """The first sample of the speech that goes on."""
        self.spoken_to = 0
        """Behind the last sample of speech."""
        self._n_speech = 0

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance has begun and has not ended."""
        return self.state in {VoiceState.SPEAKING, VoiceState.PAUSING}

    def add(self, begin: int, probability: float, rules: TurnRules) -> bool | None:
        """The next window. True: an utterance has begun with it; False: it has ended; None: neither."""
        if probability >= rules.speech_at:
            self._hear_speech(begin)
            if self.state is VoiceState.RISING and self._n_speech >= rules.min_speech:
                self._fire(VoiceEvent.SPEECH_LONG_ENOUGH)
                return True
            return None
        self._fire(VoiceEvent.SILENCE if probability < rules.silence_below else VoiceEvent.UNSURE)
        n_silent = begin + WINDOW_SAMPLES - self.spoken_to
        if self.state is VoiceState.PAUSING and n_silent >= rules.silence_ms * SAMPLES_PER_MS:
            self._fire(VoiceEvent.PAUSE_LONG_ENOUGH)
            return False
        return None

    def reset(self) -> None:
        """Nobody speaks: what was heard was taken, or taken back."""
        self.state = VoiceState.QUIET

    def assume(self, at: int) -> None:
        """An utterance goes on here, though nobody has heard it begin."""
        self.state, self.began_at, self.spoken_to = VoiceState.SPEAKING, at, at

    def _hear_speech(self, begin: int) -> None:
        if self.state is VoiceState.QUIET:
            self.began_at, self._n_speech = begin, 0
        self._fire(VoiceEvent.SPEECH)
        self._n_speech += 1
        self.spoken_to = begin + WINDOW_SAMPLES

    def _fire(self, event: VoiceEvent) -> None:
        self.state = VOICE_TABLE[self.state][event]
