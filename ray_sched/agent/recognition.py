"""What an engine says beyond the text, as it can be passed on: its times in order and inside the audio.

Models round: a last word may end after the audio, a segment may begin before the one before it. Whoever reads a result
may rely on times that rise and lie inside; a number that is none is left out.
"""

from math import isfinite
from typing import TypeVar

from msgspec.structs import replace

from ray_sched.core.messages.client_agent import PushItem
from ray_sched.core.messages.fields import MAX_TEXT
from ray_sched.core.messages.recognition import NOTHING_MORE, Recognition, Segment, Word

TimedT = TypeVar("TimedT", Segment, Word)


def passable(recognition: Recognition, item: PushItem, src: str, audio_ms: int) -> Recognition | None:
    """The recognition of a job whose source was served as ``src``; None if that says nothing beyond the job's text.

    Raises AttributeError, TypeError or ValueError for what no engine may return.
    """
    served = src if src != item.src else ""
    if recognition is NOTHING_MORE or recognition == NOTHING_MORE:
        return Recognition(language=served) if served else None
    wants_words = item.hints is not None and item.hints.words
    return replace(
        recognition,
        language=recognition.language or served,
        language_confidence=_confidence(recognition.language_confidence),
        segments=in_order(recognition.segments, audio_ms),
        words=in_order(recognition.words, audio_ms) if wants_words else (),
        model=recognition.model[:MAX_TEXT],
    )


def in_order(timed: tuple[TimedT, ...], audio_ms: int) -> tuple[TimedT, ...]:
    """The same with starts that never fall, ends not before their starts, and all of it inside the audio."""
    ordered = []
    earliest_ms = 0
    for one in timed:
        earliest_ms = min(max(one.start_ms, earliest_ms), audio_ms)
        end_ms = min(max(one.end_ms, earliest_ms), audio_ms)
        confidence = _confidence(one.confidence)
        ordered.append(replace(one, start_ms=earliest_ms, end_ms=end_ms, confidence=confidence))
    return tuple(ordered)


def _confidence(value: float | None) -> float | None:
    """Between 0 and 1, three digits: a result may hold thousands of them."""
    if value is None or not isfinite(value):
        return None
    return round(min(max(value, 0.0), 1.0), 3)
