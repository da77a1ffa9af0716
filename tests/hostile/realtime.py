"""The frames of a stranger's WebSocket: whatever comes, the session goes on, says what is wrong, and ends when asked.

Around it are a client whose jobs end at once and a detector that hears speech in whatever is not silence.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from ray_sched.client.client import Client
from ray_sched.client.results import Result
from ray_sched.core.errors import Code, Refusal
from ray_sched.gateway.realtime.configuration import Configuration, Kind
from ray_sched.gateway.realtime.session import Session
from ray_sched.gateway.realtime.transcription import Transcription
from ray_sched.gateway.realtime.translation import Translation
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.settings import GatewayRules
from ray_sched.wire.samples import Samples

_KINDS: tuple[Kind, Kind] = ("transcription", "translation")
_TURNS = 2_000
_BROKEN = Refusal(code=Code.ENGINE_FAILED, message="broke")


class _Handle:
    """A job that has ended: every fifth one badly."""

    is_done = True

    def __init__(self, number: int) -> None:
        self._number = number

    async def partials(self) -> AsyncIterator[str]:
        yield "so"
        yield "so far"

    async def result(self) -> Result:
        error = None if self._number % 5 else _BROKEN
        speech = bytes(4_000)
        return Result(
            job_id="j", name="", status="completed", pair="en:es", text="so far", translation="ya",
            speech=speech, speech_rate_hz=16_000, error=error,
        )  # fmt: skip


class _Client:
    def __init__(self) -> None:
        self._n = 0

    def submit(self, audio: Samples, **_: Any) -> _Handle:
        assert len(audio), "there is no job without audio"
        self._n += 1
        return _Handle(self._n)


class _Voices(Voices):
    def open(self) -> int:
        return 1

    async def probabilities(self, session: int, samples: Samples) -> Sequence[float]:
        del session
        await asyncio.sleep(0)
        return [0.9 if window.any() else 0.0 for window in samples.reshape(-1, 512)]

    def close_session(self, session: int) -> None:
        del session


def realtime(data: bytes) -> None:
    """The first byte is the kind of session; frames are divided by zeros."""
    kind = _KINDS[data[0] % 2] if data else _KINDS[0]
    asyncio.run(_talk(kind, [frame.decode(errors="replace") for frame in data[1:].split(b"\0")]))


async def _talk(kind: Kind, frames: list[str]) -> None:
    held: list[int] = []
    configuration = Configuration(kind, GatewayRules(), "sess_1", "", 1)
    dialect = Transcription() if kind == "transcription" else Translation(configuration)
    client = cast("Client", _Client())
    session = Session(configuration, dialect, client, _Voices(), bring=lambda _ms: None, count=held.append)
    for frame in frames:
        session.receive(frame)
        await asyncio.sleep(0)
    session.receive('{"type": "session.close"}')
    for _ in range(_TURNS):
        if session.outbox.is_ended:
            break
        await asyncio.sleep(0)
    assert session.outbox.is_ended, "it ends when it is asked to"
    await _check_events(session)
    session.end()
    assert sum(held) == 0, "no audio is left"


async def _check_events(session: Session) -> None:
    ended: Counter[str] = Counter()
    committed: Counter[str] = Counter()
    number = 0
    while event := await session.outbox.next():
        session.outbox.record_sent(event)
        told, number = json.loads(event.text), number + 1
        assert told["event_id"] == f"event_{number}"
        if told["type"] == "error":
            assert told["error"]["message"]
            assert told["error"]["type"] in {"invalid_request_error", "server_error"}
        if told["type"].endswith(("transcription.completed", "transcription.failed")):
            ended[told["item_id"]] += 1
        if told["type"] == "input_audio_buffer.committed":
            committed[told["item_id"]] += 1
    assert ended == committed, "each item ends once"


def realtime_seeds() -> list[bytes]:
    """Good frames of both kinds."""
    wish = {"audio": {"input": {"turn_detection": None, "format": {"type": "audio/pcm", "rate": 16_000}}}}
    frames: list[dict[str, Any]] = [
        {"type": "session.update", "event_id": "e1", "session": wish},
        {"type": "input_audio_buffer.append", "audio": "AQID" * 900},
        {"type": "input_audio_buffer.commit"},
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}},
        {"type": "session.input_audio_buffer.append", "audio": "AQID" * 700},
        {"type": "input_audio_buffer.clear"},
        {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}},
        {"type": "session.update", "session": {"audio": {"output": {"language": "es"}}, "output_modalities": ["text"]}},
        {"type": "input_audio_buffer.append", "audio": "AAAA" * 300},
        {"type": "session.close"},
    ]
    talk = b"\0".join(json.dumps(frame).encode() for frame in frames)
    return [b"\0" + talk, b"\1" + talk]
