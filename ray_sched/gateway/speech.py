"""``POST /v1/audio/speech``: a text in, its speech out, sentence by sentence as they are spoken."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from msgspec import Meta, Struct
from starlette.requests import Request

from ray_sched.client.client import Client
from ray_sched.client.results import Result
from ray_sched.client.streams import windowed
from ray_sched.core.capability import AUTO
from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.encoder import FORMATS, MEDIA_TYPES, Encoder
from ray_sched.gateway.exchange import EVENTS, event, event_stream, request_id, unless_gone
from ray_sched.gateway.forms import answers, check, convert, described_json, read_json
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.models import check_model
from ray_sched.gateway.refusals import RequestError, refusal_body
from ray_sched.gateway.sentences import pieces

_AT_ONCE = 4
"""Sentences that are spoken side by side."""
_MS_PER_LETTER = 60
_STREAMS = ("audio", "sse")
_ENGLISH = "en"


class AskedSpeech(Struct, frozen=True, kw_only=True):
    """The fields of a request, as far as they mean anything here; others are ignored, such as the voice."""

    input: Annotated[str, Meta(min_length=1, max_length=4_096)]
    model: Annotated[str, Meta(max_length=200)] = ""
    response_format: str = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    stream_format: str = "audio"
    language: str = ""
    """Of the text, beyond what OpenAI has; else ``gateway.language``."""
    to_language: str = ""
    """In which it is spoken, if that is another one; beyond what OpenAI has, too."""


def router(gateway: Gateway) -> APIRouter:
    """The route."""
    routes, described = APIRouter(), described_json(AskedSpeech)

    @routes.post(
        "/v1/audio/speech", response_model=None, responses=answers(*MEDIA_TYPES, EVENTS), openapi_extra=described
    )
    async def speech(request: Request) -> Response:
        visitor = await gateway.visitor(request)
        asked = convert(await read_json(request), AskedSpeech, strict=True)
        check("response_format", asked.response_format, list(FORMATS))
        check("stream_format", asked.stream_format, _STREAMS)
        check_model(gateway, asked.model)
        sentences = pieces(asked.input)
        if not sentences:
            raise RequestError(400, "there is nothing to say in the input", param="input")
        gateway.bring_audio(visitor.tenant, len(asked.input) * _MS_PER_LETTER)
        spoken = _spoken(visitor.client, asked, sentences, gateway.rules.language, request_id(request))
        try:
            first = await unless_gone(request, anext(spoken))
        except BaseException:
            await spoken.aclose()
            raise
        encoded = _encoded(first, spoken, Encoder(asked.response_format, asked.speed))
        if asked.stream_format == "sse":
            return event_stream(_events(encoded))
        return StreamingResponse(encoded, media_type=FORMATS[asked.response_format].media_type)

    return routes


async def _spoken(
    client: Client, asked: AskedSpeech, sentences: list[str], language: str, named: str
) -> AsyncGenerator[Result, None]:
    """The result of each sentence, in order. Raises SchedError for the first that has failed."""
    src = asked.language or (_ENGLISH if language == AUTO else language)

    async def run(numbered: tuple[int, str]) -> Result:
        number, sentence = numbered
        tgt = asked.to_language or None
        handle = client.speak(sentence, src=src, tgt=tgt, request_id=f"{named}/{number}" if named else "")
        result = await handle
        if not result.speech and handle.is_duplicate:  # it was fetched, and nobody keeps it: it is spoken again
            result = await client.speak(sentence, src=src, tgt=tgt)
        if not result.speech:
            raise SchedError(Code.ENGINE_FAILED, "the engine gave no speech for a text; look at its log")
        return result

    async with aclosing(windowed(enumerate(sentences), run, lambda: _AT_ONCE, "input")) as results:
        async for result in results:
            yield result


async def _encoded(
    first: Result, others: AsyncGenerator[Result, None], encoder: Encoder
) -> AsyncGenerator[bytes, None]:
    """The bytes of the format, as they come. A reader that goes cancels the sentences that were not spoken."""
    async with aclosing(others):
        yield await asyncio.to_thread(encoder.add, first.speech, first.speech_rate_hz)
        async for result in others:
            yield await asyncio.to_thread(encoder.add, result.speech, result.speech_rate_hz)
        yield await asyncio.to_thread(encoder.end)


async def _events(encoded: AsyncGenerator[bytes, None]) -> AsyncIterator[str]:
    """The same as Server-Sent Events. No tokens are counted here, and OpenAI's clients want their number."""
    usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    async with aclosing(encoded):
        try:
            async for data in encoded:
                if data:
                    yield event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
        except SchedError as error:
            yield event({"type": "error"} | refusal_body(error.refusal))
            return
    yield event({"type": "speech.audio.done", "usage": usage})
