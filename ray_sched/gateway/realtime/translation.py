"""A translation session's events: what was said, what it means, and how that sounds, each as something appended."""

import base64
from collections.abc import Iterator

import numpy as np
import soxr  # type: ignore[import-untyped]  # it has no types

from ray_sched.client.results import Result
from ray_sched.core.turns.effects import TellFailed, TellPiece, TurnEffect
from ray_sched.core.turns.rules import SAMPLES_PER_MS
from ray_sched.gateway.heard import said
from ray_sched.gateway.realtime.configuration import Configuration
from ray_sched.gateway.realtime.dialect import Event, error_event, error_of
from ray_sched.wire.samples import Samples

SPEECH_RATE_HZ = 24_000
_FRAME_MS = 200
_CHUNK_SAMPLES = SPEECH_RATE_HZ // 1000 * _FRAME_MS


class Translation:
    """See Dialect."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._has_source = False
        self._has_text = False

    def tell(self, effect: TurnEffect, result: Result | None) -> list[Event]:
        """See Dialect. A failed utterance is an ``error``: this kind of session has no other word for it."""
        match effect:
            case TellPiece(end=end) if result:
                return [*self._texts(result, end), *_speech(result, end)]
            case TellFailed(_, refusal):
                return [error_event(error_of(refusal))]
        return []

    def _texts(self, result: Result, end: int) -> Iterator[Event]:
        if self._configuration.shows_source and result.text:
            yield _delta("input_transcript", " " * self._has_source + result.text, end)
            self._has_source = True
        if text := said(result):
            yield _delta("output_transcript", " " * self._has_text + text, end)
            self._has_text = True


def speech_ms(event: Event) -> int:
    """How long the speech of an event is; 0 for one that has none."""
    if event["type"] != "session.output_audio.delta":
        return 0
    return int(len(event["delta"]) * 3 // 4 // 2 * 1000 // SPEECH_RATE_HZ)


def _delta(what: str, delta: str, end: int) -> Event:
    elapsed_ms = end // SAMPLES_PER_MS // _FRAME_MS * _FRAME_MS
    return {"type": f"session.{what}.delta", "delta": delta, "elapsed_ms": elapsed_ms}


def _speech(result: Result, end: int) -> Iterator[Event]:
    samples: Samples = np.frombuffer(result.speech, "<i2").astype(np.int16, copy=False)
    if result.speech_rate_hz not in (0, SPEECH_RATE_HZ):
        samples = soxr.resample(samples, result.speech_rate_hz, SPEECH_RATE_HZ)
    form = {"format": "pcm16", "sample_rate": SPEECH_RATE_HZ, "channels": 1}
    for first in range(0, len(samples), _CHUNK_SAMPLES):
        chunk = samples[first : first + _CHUNK_SAMPLES].astype("<i2", copy=False).tobytes()
        yield _delta("output_audio", base64.b64encode(chunk).decode(), end) | form
