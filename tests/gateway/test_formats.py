"""A result in each format that OpenAI's clients ask for."""

import math
from typing import Any

from ray_sched.client.results import Result
from ray_sched.core.messages.recognition import Segment, Word
from ray_sched.gateway.formats import as_json, as_text, as_verbose_json
from ray_sched.gateway.heard import Heard, heard_in

SEGMENTS = (Segment(0, 1_500, "He was not", 0.5), Segment(1_500, 2_990, "an ill disposed man."))


def what_was_heard(**changes: Any) -> Heard:
    facts: dict[str, Any] = {
        "job_id": "b-1",
        "name": "a.wav",
        "status": "completed",
        "pair": "en:en",
        "text": "He was not an ill disposed man.",
        "language": "en",
        "audio_ms": 2_990,
        "segments": SEGMENTS,
    }
    return heard_in(Result(**(facts | changes)))


def test_json_has_the_text_and_the_seconds() -> None:
    assert as_json(what_was_heard()) == {
        "text": "He was not an ill disposed man.",
        "usage": {"type": "duration", "seconds": 3},
    }


def test_a_translation_is_what_was_asked_for() -> None:
    result = what_was_heard(pair="en:es", translation="No era un hombre malo.")
    assert as_json(result)["text"] == "No era un hombre malo."
    assert as_text(result, "srt") == "1\n00:00:00,000 --> 00:00:02,990\nNo era un hombre malo.\n\n"


def test_subtitles_have_a_cue_for_each_segment() -> None:
    srt = "1\n00:00:00,000 --> 00:00:01,500\nHe was not\n\n2\n00:00:01,500 --> 00:00:02,990\nan ill disposed man.\n\n"
    assert as_text(what_was_heard(), "srt") == srt
    assert as_text(what_was_heard(), "vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n")
    assert as_text(what_was_heard(), "text") == "He was not an ill disposed man.\n"
    assert as_text(what_was_heard(text="", segments=()), "srt") == ""


def test_verbose_json_has_segments_or_words_as_they_were_asked_for() -> None:
    result = what_was_heard(words=(Word(0, 200, "He", 0.9), Word(200, 500, "was")))

    def page(*granularities: str) -> Any:
        return as_verbose_json(result, task="transcribe", temperature=None, granularities=granularities)

    assert page()["duration"] == 2.99
    first, second = page()["segments"]
    assert (first["start"], first["end"], first["text"]) == (0, 1.5, "He was not")
    assert first["avg_logprob"] == math.log(0.5)
    assert (second["id"], second["avg_logprob"], second["tokens"]) == (1, 0.0, [])
    assert "words" not in page()
    assert page("word")["words"][1] == {"word": "was", "start": 0.2, "end": 0.5}
    assert "segments" not in page("word")
    assert {"words", "segments"} <= set(page("word", "segment"))


def test_without_segments_of_the_engine_all_that_was_said_is_one() -> None:
    page = as_verbose_json(what_was_heard(segments=()), task="transcribe", temperature=0.2, granularities=())
    (only,) = page["segments"]
    assert (only["start"], only["end"], only["temperature"]) == (0, 2.99, 0.2)
