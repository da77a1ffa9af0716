"""What a job asks of its engine beyond its languages, and what an engine says beyond the text: both with their limits.

They travel inside the messages about a job. A job that asks for nothing special carries none of it, and neither does
the result of an engine that says nothing more than the text.
"""

from math import isfinite
from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Language
from ray_sched.core.messages.fields import AudioMs, LongText, Text

MAX_PROMPT = 4_000
MAX_SPOKEN = 8_000
MAX_HOTWORDS = 200
MAX_OPTIONS = 32
MAX_OPTION_VALUE = 1_000
MAX_CANDIDATES = 100
MAX_SEGMENTS = 20_000
MAX_WORDS = 100_000

Option = Annotated[str, Meta(max_length=MAX_OPTION_VALUE)] | int | float | bool
Confidence = Annotated[float, Meta(ge=0, le=1)]
"""From 0 to 1, as the model says it."""


class Hints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a job tells its engine beyond its languages and services. An engine leaves out what it cannot use."""

    words: bool = False
    """Each word with its times is wanted."""
    candidates: Annotated[tuple[Language, ...], Meta(max_length=MAX_CANDIDATES)] = ()
    """With ``auto`` as the source: the languages it may be, sorted; empty: any."""
    prompt: Annotated[str, Meta(max_length=MAX_PROMPT)] = ""
    """What was said before, or a text in the style that is wanted."""
    hotwords: Annotated[tuple[Text, ...], Meta(max_length=MAX_HOTWORDS)] = ()
    """Names and words that are likely to be said."""
    text: Annotated[str, Meta(max_length=MAX_SPOKEN)] = ""
    """Of a job without recognition: what is to be translated, or spoken, instead of what its audio says."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Of the model's choice between words; None: as the engine does it by itself."""
    options: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=64)], Option], Meta(max_length=MAX_OPTIONS)
    ] = {}
    """What only this engine knows, by its own names."""

    def __post_init__(self) -> None:
        """Refuse numbers that a record cannot keep. Raises ValueError, which decoding turns into its own error."""
        numbers = [self.temperature, *self.options.values()]
        if not all(isfinite(number) for number in numbers if isinstance(number, float)):
            raise ValueError("numbers in hints must be finite")


NO_HINTS = Hints()


class Segment(Struct, frozen=True, array_like=True, gc=False):
    """A part of the text, mostly a sentence, and when it is said. Times are milliseconds from the audio's beginning."""

    start_ms: AudioMs
    end_ms: AudioMs
    text: LongText
    confidence: Confidence | None = None


class Word(Struct, frozen=True, array_like=True, gc=False):
    """A word and when it is said, in milliseconds from the audio's beginning."""

    start_ms: AudioMs
    end_ms: AudioMs
    text: Text
    confidence: Confidence | None = None


class Recognition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What an engine says of the audio beyond its text. All times rise and lie inside the audio."""

    language: Annotated[str, Meta(max_length=64)] = ""
    """Recognised, or the tag that has served the one that was asked for; empty: the one that was asked for."""
    language_confidence: Confidence | None = None
    """None: the language was not looked for."""
    segments: Annotated[tuple[Segment, ...], Meta(max_length=MAX_SEGMENTS)] = ()
    words: Annotated[tuple[Word, ...], Meta(max_length=MAX_WORDS)] = ()
    model: Text = ""
    """The name of the model that has recognised."""


NOTHING_MORE = Recognition()
