"""A client that speaks WebSocket only, and audio as clients send it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import soxr  # type: ignore[import-untyped]  # it has no types
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from ray_sched.wire.samples import Samples

Event = dict[str, Any]
TRANSCRIPTION = "/v1/realtime?intent=transcription"
TRANSLATION = "/v1/realtime/translations?model=gpt-realtime-translate"
PUSHED = {"audio": {"input": {"turn_detection": None}}}


def pcm(samples: Samples, rate_hz: int = 24_000) -> bytes:
    """16 kHz samples at another rate, as bytes."""
    made = samples if rate_hz == 16_000 else soxr.resample(samples, 16_000, rate_hz)
    return bytes(made.astype("<i2").tobytes())


def quiet(seconds: float, rate_hz: int = 24_000) -> bytes:
    return bytes(2 * round(seconds * rate_hz))


class Talker:
    """One connection, and all that came over it."""

    def __init__(self, socket: ClientConnection, prefix: str = "") -> None:
        self.socket = socket
        self.events: list[Event] = []
        self._prefix = prefix

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def update(self, session: Event) -> Event:
        await self.send("session.update", session=session)
        return (await self.until("session.updated"))["session"]  # type: ignore[no-any-return]  # a dictionary

    async def say(self, audio: bytes, chunk_bytes: int = 4_800) -> None:
        for first in range(0, len(audio), chunk_bytes):
            chunk = base64.b64encode(audio[first : first + chunk_bytes]).decode()
            await self.send(f"{self._prefix}input_audio_buffer.append", audio=chunk)

    async def commit(self) -> None:
        await self.send("input_audio_buffer.commit")

    async def hear(self) -> Event:
        """The next event."""
        event: Event = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
        self.events.append(event)
        return event

    async def until(self, kind: str, n: int = 1) -> Event:
        """The n-th event of a kind from now on, which is told by the end of its name."""
        while n:
            event = await self.hear()
            n -= event["type"].endswith(kind)
        return event

    async def until_closed(self) -> int:
        """The code with which the gateway closes the connection."""
        with suppress(ConnectionClosedError):
            async for text in self.socket:
                self.events.append(json.loads(text))
        return int(self.socket.close_code or 0)

    def all(self, kind: str) -> list[Event]:
        """The events of a kind so far."""
        return [event for event in self.events if event["type"].endswith(kind)]

    def cut(self) -> None:
        """The connection is gone, and nobody has said so."""
        self.socket.transport.abort()


@asynccontextmanager
async def talking(url: str, path: str = TRANSCRIPTION, tenant: str = "", **options: Any) -> AsyncIterator[Talker]:
    """A connection to a gateway. In tests the name of a tenant is its token."""
    headers = {"Authorization": f"Bearer {tenant}"} if tenant else {}
    async with connect(url.replace("http", "ws", 1) + path, additional_headers=headers, **options) as socket:
        yield Talker(socket, "session." if path.startswith("/v1/realtime/translations") else "")


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that has no event."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # as it says
            await asyncio.sleep(0.01)


def noise(seconds: float) -> Samples:
    """Something that is no speech, and is not the same everywhere."""
    return np.random.default_rng(1).integers(-500, 500, round(seconds * 16_000)).astype(np.int16)
