"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: a file in, its text out, whole or as it comes.

A file that is longer than an utterance is cut where nobody speaks; its parts are jobs of one session.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from msgspec import Meta, Struct
from starlette.requests import Request

from ray_sched.client import headers
from ray_sched.client.client import Client
from ray_sched.client.long import Passage
from ray_sched.client.results import JobHandle
from ray_sched.core.errors import SchedError
from ray_sched.gateway.deltas import Deltas
from ray_sched.gateway.exchange import DONE, EVENTS, event, event_stream, request_id, unless_gone
from ray_sched.gateway.formats import FORMATS, JSON_FORMATS, as_json, as_text, as_verbose_json, usage
from ray_sched.gateway.forms import Upload, answers, check, described_form, read_form
from ray_sched.gateway.gateway import Gateway, Visitor
from ray_sched.gateway.heard import Heard, heard_in, heard_in_passages, said
from ray_sched.gateway.models import check_model
from ray_sched.gateway.refusals import refusal_body

_TO_ENGLISH = "en"
_SECOND_MS = 1_000
_EXACT = (b"RIFF", b"fLaC")
"""Files whose length is known, not estimated."""
_LISTS = ("timestamp_granularities", "languages", "keywords")
_GRANULARITIES = ("segment", "word")


class Asked(Struct, frozen=True, kw_only=True):
    """The fields of a request but its file, as far as they mean anything here; others are ignored."""

    model: Annotated[str, Meta(max_length=200)] = ""
    language: str = ""
    languages: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    """One of them is spoken."""
    to_language: str = ""
    """Of translations, beyond what OpenAI has: another language than English."""
    prompt: Annotated[str, Meta(max_length=4_000)] = ""
    keywords: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=200)] = ()
    response_format: str = "json"
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    timestamp_granularities: Annotated[tuple[str, ...], Meta(max_length=10)] = ()
    stream: bool = False


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes, described = APIRouter(), described_form(Asked, _LISTS)
    said = answers("application/json", "text/plain", EVENTS)

    @routes.post("/v1/audio/transcriptions", response_model=None, responses=said, openapi_extra=described)
    async def transcriptions(request: Request) -> Response:
        return await _answer(gateway, request, is_translated=False)

    @routes.post("/v1/audio/translations", response_model=None, responses=said, openapi_extra=described)
    async def translations(request: Request) -> Response:
        return await _answer(gateway, request, is_translated=True)

    return routes


async def _answer(gateway: Gateway, request: Request, *, is_translated: bool) -> Response:
    """The answer to one request. Raises RequestError for what is wrong with it, SchedError for its job."""
    visitor = await gateway.visitor(request)
    asked, upload = await read_form(request, Asked, _LISTS)
    check("response_format", asked.response_format, FORMATS)
    for one in asked.timestamp_granularities:
        check("timestamp_granularities", one, _GRANULARITIES)
    check_model(gateway, asked.model)
    recording = Recording(gateway, visitor, upload, _options(gateway, request, asked, upload, is_translated))
    if asked.stream:
        return event_stream(await recording.events(has_partials=not is_translated))
    heard = await unless_gone(request, recording.heard())
    return _formatted(heard, asked, task="translate" if is_translated else "transcribe")


def _options(gateway: Gateway, request: Request, asked: Asked, upload: Upload, is_translated: bool) -> dict[str, Any]:  # noqa: FBT001  # it reads as a sentence
    """What all jobs of the request are told."""
    return {
        "src": asked.language or asked.languages or gateway.rules.language,
        "tgt": (asked.to_language or _TO_ENGLISH) if is_translated else None,
        "request_id": request_id(request),
        "words": "word" in asked.timestamp_granularities,
        "prompt": asked.prompt,
        "hotwords": asked.keywords,
        "temperature": asked.temperature,
        "copy": False,
        "name": upload.name,
    }


class Recording:
    """The audio of one request on its way through the scheduler: as one job, or as passages if it is long."""

    def __init__(self, gateway: Gateway, visitor: Visitor, upload: Upload, options: dict[str, Any]) -> None:
        """Raises SchedError OVERLOADED if the tenant has brought too much audio."""
        self._gateway = gateway
        self._visitor = visitor
        self._audio = upload.audio
        self._options = options
        self._expected_ms = headers.duration_ms(upload.audio[: headers.HEAD_BYTES], len(upload.audio))
        self._known_ms = self._expected_ms if upload.audio.startswith(_EXACT) else 0
        self._is_long = self._expected_ms > gateway.rules.split_s * _SECOND_MS
        gateway.bring_audio(visitor.tenant, self._expected_ms)

    async def heard(self) -> Heard:
        """All of it. Raises SchedError for the job, or for the first passage, that has failed."""
        if self._is_long:
            async with aclosing(self._passages()) as heard:
                passages = [passage async for passage in heard]
            return self._ended(heard_in_passages(passages, self._known_ms))
        return self._ended(heard_in(await self._submit()))

    async def events(self, *, has_partials: bool) -> AsyncIterator[str]:
        """Server-Sent Events: deltas, one end with the whole text, ``[DONE]``. A reader that goes cancels the jobs.

        Raises SchedError if the job is not taken.
        """
        if self._is_long:
            return self._long_events()
        handle = self._submit(partials=has_partials)
        await handle.accepted()
        return self._short_events(handle)

    def _submit(self, **more: Any) -> JobHandle:
        client: Client = self._visitor.client
        return client.submit(self._audio, **self._options, **more)

    async def _passages(self) -> AsyncGenerator[Passage, None]:
        """Raises SchedError for the first that has failed, and what keeps the recording from being read."""
        options = {name: value for name, value in self._options.items() if name != "copy"}
        async with aclosing(self._visitor.client.transcribe_long(self._audio, **options)) as passages:
            async for passage in passages:
                passage.raise_for_error()
                yield passage

    async def _short_events(self, handle: JobHandle) -> AsyncIterator[str]:
        deltas = Deltas()
        try:
            async for text in handle.partials():
                if delta := deltas.add(text):
                    yield _delta(delta)
            try:
                heard = self._ended(heard_in(await handle))
            except SchedError as error:
                yield event({"type": "error"} | refusal_body(error.refusal))
            else:
                if delta := deltas.end(heard.text):
                    yield _delta(delta)
                yield _done(heard)
            yield DONE
        finally:
            if not handle.is_done:
                await asyncio.shield(_cancel(handle))

    async def _long_events(self) -> AsyncIterator[str]:
        heard: list[Passage] = []
        async with aclosing(self._passages()) as passages:
            try:
                async for passage in passages:
                    if text := said(passage):
                        yield _delta(f" {text}" if any(map(said, heard)) else text)
                    heard.append(passage)
                yield _done(self._ended(heard_in_passages(heard, self._known_ms)))
            except SchedError as error:
                yield event({"type": "error"} | refusal_body(error.refusal))
            yield DONE

    def _ended(self, heard: Heard) -> Heard:
        self._gateway.meters.audio.inc(heard.audio_ms / _SECOND_MS)
        self._gateway.limits.correct_audio(self._visitor.tenant, heard.audio_ms - self._expected_ms)
        return heard


async def _cancel(handle: JobHandle) -> None:
    with suppress(SchedError):  # it has ended, or was never taken
        await handle.cancel()


def _formatted(heard: Heard, asked: Asked, *, task: str) -> Response:
    page_headers = {"x-ray-sched-job": heard.job_ids[0]} if len(heard.job_ids) == 1 else {}
    if asked.response_format not in JSON_FORMATS:
        return PlainTextResponse(as_text(heard, asked.response_format), headers=page_headers)
    if asked.response_format == "json":
        return JSONResponse(as_json(heard), headers=page_headers)
    granularities = asked.timestamp_granularities
    page = as_verbose_json(heard, task=task, temperature=asked.temperature, granularities=granularities)
    return JSONResponse(page, headers=page_headers)


def _delta(text: str) -> str:
    return event({"type": "transcript.text.delta", "delta": text})


def _done(heard: Heard) -> str:
    return event({"type": "transcript.text.done", "text": heard.text, "usage": usage(heard)})
