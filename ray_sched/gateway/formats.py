"""What was heard, as each ``response_format`` of OpenAI's transcriptions has it."""

import math
import zlib
from collections.abc import Collection
from typing import Any

from ray_sched.core.messages.recognition import Segment
from ray_sched.core.views.subtitles import VTT_HEAD, srt_cue, vtt_cue
from ray_sched.gateway.heard import Heard

JSON_FORMATS = ("json", "verbose_json")
TEXT_FORMATS = ("text", "srt", "vtt")
FORMATS = (*JSON_FORMATS, *TEXT_FORMATS)


def usage(heard: Heard) -> dict[str, Any]:
    """What is paid for: whole seconds of audio, begun ones counted."""
    return {"type": "duration", "seconds": math.ceil(heard.audio_ms / 1000)}


def as_json(heard: Heard) -> dict[str, Any]:
    """``{"text", "usage"}``."""
    return {"text": heard.text, "usage": usage(heard)}


def as_text(heard: Heard, name: str) -> str:
    """``text``, ``srt`` or ``vtt``; subtitles have a cue for each segment."""
    if name == "text":
        return f"{heard.text}\n"
    spans = [(one.start_ms / 1000, one.end_ms / 1000, one.text) for one in heard.segments]
    if name == "srt":
        return "".join(srt_cue(number, *span) for number, span in enumerate(spans, 1))
    return VTT_HEAD + "".join(vtt_cue(*span) for span in spans)


def as_verbose_json(heard: Heard, *, task: str, temperature: float | None, granularities: Collection[str]) -> Any:
    """With the language, the duration, and segments or words with their times in seconds.

    What only Whisper itself knows of a segment is what can be said truly: ``avg_logprob`` is the logarithm of the
    segment's confidence, or 0 where the engine says none; ``compression_ratio`` is computed from the text, as Whisper
    does; there are no tokens.
    """
    page: dict[str, Any] = {
        "task": task,
        "language": heard.language,
        "duration": heard.audio_ms / 1000,
        "text": heard.text,
        "usage": usage(heard),
    }
    if "segment" in granularities or not granularities:
        page["segments"] = [_segment(n, one, temperature or 0.0) for n, one in enumerate(heard.segments)]
    if "word" in granularities:
        page["words"] = [
            {"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000} for word in heard.words
        ]
    return page


def _segment(number: int, one: Segment, temperature: float) -> dict[str, Any]:
    raw = one.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": one.start_ms / 1000,
        "end": one.end_ms / 1000,
        "text": one.text,
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": math.log(max(one.confidence, 1e-10)) if one.confidence is not None else 0.0,
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 4),
        "no_speech_prob": 0.0,
    }
