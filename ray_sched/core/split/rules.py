"""The numbers by which a long recording is split, counted in the windows that a voice detector judges."""

from dataclasses import dataclass

WINDOW_SAMPLES = 512
"""Samples at 16 kHz of one window: 32 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRules:
    """When a voice begins, when it has ended, and how long an utterance may be. Raises ValueError for nonsense."""

    speech_at: float = 0.5
    """A window at least so probable is speech."""
    silence_below: float = 0.35
    """A window less probable is silence. What is between the two goes on as it was: hysteresis."""
    min_speech: int = 3
    """Windows. What has fewer of speech, before silence has come back, is a click and no utterance."""
    min_silence: int = 16
    """Windows. A shorter pause does not end an utterance."""
    pad_before: int = 6
    """Windows taken along before the first one of speech, where they are nobody else's: a consonant begins softly."""
    pad_after: int = 6
    """Windows taken along after the last one of speech; at most ``min_silence``."""
    max_windows: int = 937
    """Windows of the longest utterance: 29.98 s. It is cut then, also in the middle of speech."""
    search: int = 312
    """Windows: such a cut is behind the least probable one of these last ones, which are fewer than ``max_windows``."""

    def __post_init__(self) -> None:
        if not 0 <= self.silence_below <= self.speech_at <= 1:
            raise ValueError("silence_below must be from 0 to speech_at, and speech_at at most 1")
        if not (self.min_speech >= 1 and self.min_silence >= 1 and self.pad_before >= 0):
            raise ValueError("min_speech and min_silence must be at least 1, and pad_before at least 0")
        if not 0 <= self.pad_after <= self.min_silence:
            raise ValueError("pad_after must be from 0 to min_silence")
        if not (self.search >= 1 and max(self.search, self.pad_before, self.min_silence) < self.max_windows):
            raise ValueError("max_windows must be more than search, pad_before and min_silence, and search at least 1")
