"""What a server of OpenAI's audio API answers to a transcription, as results know it.

Servers differ: a language is a tag or its English name, words are there or not, numbers may be texts. What cannot be
read is left out; only the text has to be there.
"""

import math
import re
from typing import Any

from ray_sched.agent.engines.openai_http import ServerError
from ray_sched.core.capability import LANGUAGE
from ray_sched.core.messages.fields import MAX_AUDIO_MS, MAX_TEXT
from ray_sched.core.messages.recognition import Recognition, Segment, Word

_TAG = re.compile(LANGUAGE)
_TAGS = {
    "arabic": "ar", "bulgarian": "bg", "catalan": "ca", "chinese": "zh", "croatian": "hr", "czech": "cs",
    "danish": "da", "dutch": "nl", "english": "en", "estonian": "et", "finnish": "fi", "french": "fr", "german": "de",
    "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "indonesian": "id", "italian": "it",
    "japanese": "ja", "korean": "ko", "latvian": "lv", "lithuanian": "lt", "norwegian": "no", "persian": "fa",
    "polish": "pl", "portuguese": "pt", "romanian": "ro", "russian": "ru", "serbian": "sr", "slovak": "sk",
    "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta", "thai": "th", "turkish": "tr",
    "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip
"""OpenAI's own server writes names."""


def recognition_of(reply: Any, model: str, *, is_asked: bool) -> tuple[str, Recognition]:
    """The text and what else there is; ServerError without a text. ``is_asked``: the language was to be found."""
    if not isinstance(reply, dict) or not isinstance(reply.get("text"), str):
        raise ServerError(f"the server answered a transcription without a text: {str(reply)[:80]}")
    return reply["text"].strip(), Recognition(
        language=_tag(reply.get("language")) if is_asked else "",
        segments=tuple(filter(None, map(_segment, _list(reply, "segments")))),
        words=tuple(filter(None, map(_word, _list(reply, "words")))),
        model=model[:MAX_TEXT],
    )


def _list(reply: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = reply.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _tag(language: Any) -> str:
    name = str(language or "").strip()
    return name if _TAG.fullmatch(name) else _TAGS.get(name.lower(), "")


def _segment(one: dict[str, Any]) -> Segment | None:
    times, likely = _times(one), _number(one.get("avg_logprob"))
    if times is None:
        return None
    confidence = None if likely is None else math.exp(min(likely, 0.0))
    return Segment(*times, str(one.get("text", "")).strip(), confidence)


def _word(one: dict[str, Any]) -> Word | None:
    times, likely = _times(one), _number(one.get("probability"))
    return None if times is None else Word(*times, str(one.get("word", "")).strip()[:MAX_TEXT], likely)


def _times(one: dict[str, Any]) -> tuple[int, int] | None:
    start, end = _number(one.get("start")), _number(one.get("end"))
    if start is None or end is None:
        return None
    return _ms(start), _ms(end)


def _ms(seconds: float) -> int:
    return round(min(max(seconds * 1000, 0.0), MAX_AUDIO_MS))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
