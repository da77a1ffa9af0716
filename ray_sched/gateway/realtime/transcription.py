"""A transcription session's events: where utterances are, what was said in each, as it is known, and how each ended."""

import math
from typing import Any

from ray_sched.client.results import Result
from ray_sched.core.turns.effects import (
    TellCleared,
    TellCommitted,
    TellCompleted,
    TellFailed,
    TellPartial,
    TellPiece,
    TellStarted,
    TellStopped,
    TellTimeout,
    TurnEffect,
)
from ray_sched.core.turns.rules import SAMPLES_PER_MS
from ray_sched.gateway.deltas import Deltas
from ray_sched.gateway.realtime.dialect import Event, error_of, milliseconds

_ABOUT_ITEM = "conversation.item.input_audio_transcription"
_S = 1000 * SAMPLES_PER_MS


class _Text:
    """Of an item that has not ended."""

    def __init__(self) -> None:
        self.final = ""
        """Of the pieces that were told."""
        self.language = ""
        self.deltas = Deltas()

    def with_more(self, text: str) -> str:
        """What is final, and a text behind it."""
        return " ".join(part for part in (self.final, text) if part)


class Transcription:
    """See Dialect."""

    def __init__(self) -> None:
        self._texts: dict[str, _Text] = {}

    def tell(self, effect: TurnEffect, result: Result | None) -> list[Event]:  # noqa: PLR0911  # one for each event
        """See Dialect."""
        match effect:
            case TellStarted(item, at):
                return [_buffer("speech_started", item_id=item, audio_start_ms=milliseconds(at))]
            case TellStopped(item, at):
                return [_buffer("speech_stopped", item_id=item, audio_end_ms=milliseconds(at))]
            case TellTimeout(item, begin, end):
                times = {"audio_start_ms": milliseconds(begin), "audio_end_ms": milliseconds(end)}
                return [_buffer("timeout_triggered", item_id=item, **times)]
            case TellCommitted(item, previous):
                return [_buffer("committed", item_id=item, previous_item_id=previous), _added(item, previous)]
            case TellCleared():
                return [_buffer("cleared")]
            case TellPartial(item, _, text):
                known = self._text(item)
                return _deltas(item, known.deltas.add(known.with_more(text)))
            case TellPiece(item) if result:
                known = self._text(item)
                known.final, known.language = known.with_more(result.text), known.language or result.language
                return _deltas(item, known.deltas.end(known.final))
            case TellCompleted(item, n_samples):
                return [_completed(item, self._texts.pop(item, _Text()), n_samples)]
            case TellFailed(item, refusal):
                self._texts.pop(item, None)
                return [_of_item("failed", item, error=error_of(refusal))]
        return []

    def _text(self, item: str) -> _Text:
        return self._texts.setdefault(item, _Text())


def _buffer(what: str, **fields: Any) -> Event:
    return {"type": f"input_audio_buffer.{what}", **fields}


def _of_item(what: str, item: str, **fields: Any) -> Event:
    return {"type": f"{_ABOUT_ITEM}.{what}", "item_id": item, "content_index": 0, **fields}


def _added(item: str, previous: str | None) -> Event:
    message = {
        "id": item,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    return {"type": "conversation.item.added", "previous_item_id": previous, "item": message}


def _deltas(item: str, delta: str) -> list[Event]:
    return [_of_item("delta", item, delta=delta)] if delta else []


def _completed(item: str, text: _Text, n_samples: int) -> Event:
    usage = {"type": "duration", "seconds": math.ceil(n_samples / _S)}
    languages = {"languages": [{"code": text.language}]} if text.language else {}
    return _of_item("completed", item, transcript=text.final, usage=usage, **languages)
