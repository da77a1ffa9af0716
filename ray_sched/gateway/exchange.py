"""What requests and their answers have in common: who hangs up, the name of a request, and Server-Sent Events."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from fastapi.responses import Response, StreamingResponse
from starlette.requests import Request

from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.refusals import RequestError

T = TypeVar("T")
EVENTS = "text/event-stream"
DONE = "data: [DONE]\n\n"
"""The end of a stream, as OpenAI's clients read it."""


def request_id(request: Request) -> str:
    """The request id that an ``Idempotency-Key`` makes, of whatever length it is."""
    key = request.headers.get("idempotency-key", "")
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What the work gives; if whoever asked is gone before, it is cancelled, and with it the jobs it waits for."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise SchedError(Code.CANCELLED, "whoever asked is gone; ask again")
        return await working
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    with suppress(RequestError):  # more than was to come
        while (await request.receive())["type"] != "http.disconnect":
            pass


def event(value: dict[str, Any], *, kind: str = "", number: int | None = None) -> str:
    """One event. ``kind`` and ``number``: its ``event`` and ``id``, by which a reader goes on where it was."""
    head = (f"id: {number}\n" if number is not None else "") + (f"event: {kind}\n" if kind else "")
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n"


def event_stream(events: AsyncIterator[str]) -> Response:
    """An answer that goes on as events come; a reader that goes ends them."""
    return StreamingResponse(
        events, media_type=EVENTS, headers={"cache-control": "no-cache", "x-accel-buffering": "no"}
    )
