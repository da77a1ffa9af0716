"""What was heard in a request's audio, whether that was one job or the passages of a long recording."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ray_sched.client.long import Passage
from ray_sched.client.results import Result
from ray_sched.core.messages.recognition import Segment, Word


class Heard(Struct, frozen=True, kw_only=True):
    """Text, and when it was said, in milliseconds from the beginning of the audio."""

    text: str
    """Translated, if it was to be."""
    language: str
    """That was spoken."""
    audio_ms: int
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()
    """Of what was spoken, if they were asked for."""
    job_ids: tuple[str, ...] = ()


def said(result: Result) -> str:
    """The text that was asked for: translated, if it was to be."""
    src, _, tgt = result.pair.partition(":")
    return result.text if src == tgt else result.translation


def heard_in(result: Result) -> Heard:
    """What one job has heard. Where the engine knows no segments, and of a translation, it is one."""
    text = said(result)
    segments = result.segments if text == result.text else ()
    return Heard(
        text=text,
        language=result.language,
        audio_ms=result.audio_ms,
        segments=segments or ((Segment(0, result.audio_ms, text),) if text else ()),
        words=result.words,
        job_ids=(result.job_id,),
    )


def heard_in_passages(passages: Sequence[Passage], audio_ms: int) -> Heard:
    """What all passages of a recording have heard, with times from its beginning. ``audio_ms``: at least, of it."""
    parts = [_moved(heard_in(passage), round(passage.start_s * 1000)) for passage in passages]
    ends_ms = [round(passage.end_s * 1000) for passage in passages]
    return Heard(
        text=" ".join(part.text for part in parts if part.text),
        language=next((part.language for part in parts if part.text), ""),
        audio_ms=max([audio_ms, *ends_ms]),
        segments=tuple(segment for part in parts for segment in part.segments),
        words=tuple(word for part in parts for word in part.words),
        job_ids=tuple(job_id for part in parts for job_id in part.job_ids),
    )


def _moved(heard: Heard, by_ms: int) -> Heard:
    return replace(
        heard,
        segments=tuple(replace(it, start_ms=it.start_ms + by_ms, end_ms=it.end_ms + by_ms) for it in heard.segments),
        words=tuple(replace(it, start_ms=it.start_ms + by_ms, end_ms=it.end_ms + by_ms) for it in heard.words),
    )
