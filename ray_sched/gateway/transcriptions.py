"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: a file in, its text out, whole or as it comes."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from msgspec import Meta, Struct
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from ray_sched.client.client import Client
from ray_sched.client.results import JobHandle, Result
from ray_sched.core.errors import SchedError
from ray_sched.gateway.deltas import Deltas
from ray_sched.gateway.formats import FORMATS, JSON_FORMATS, as_json, as_text, as_verbose_json, said, usage
from ray_sched.gateway.refusals import RequestError, refusal_body, refusal_response

_TO_ENGLISH = "en"
_MAX_FIELDS = 200


class Asked(Struct, frozen=True, kw_only=True):
    """The fields of a request but its file, as far as they mean anything here; others are ignored."""

    model: Annotated[str, Meta(max_length=200)] = ""
    language: str = ""
    to_language: str = ""
    """Of translations, beyond what OpenAI has: another language than English."""
    prompt: Annotated[str, Meta(max_length=4_000)] = ""
    response_format: str = "json"
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    timestamp_granularities: tuple[str, ...] = ()
    stream: bool = False


_LISTS = ("timestamp_granularities",)
_GRANULARITIES = ("segment", "word")


class Transcriptions:
    """What both ways have in common. ``language``: of a request that names none."""

    def __init__(self, language: str, models: tuple[str, ...]) -> None:
        self._language = language
        self._models = models

    async def answer(self, request: Request, client: Client, *, is_translated: bool) -> Response:
        """The answer to one request. Raises RequestError for what is wrong with it, SchedError for its job."""
        async with request.form(max_files=1, max_fields=_MAX_FIELDS) as form:
            asked, file = self._read(form)
            audio = await file.read()
            name = (file.filename or "")[:200]
        if not audio:
            raise RequestError(400, "the file is empty; record it again", param="file")
        handle = self._submit(client, request, asked, audio, name, is_translated=is_translated)
        if asked.stream:
            await handle.accepted()
            return StreamingResponse(
                _events(handle), media_type="text/event-stream", headers={"cache-control": "no-cache"}
            )
        result = await _unless_gone(request, handle)
        if result.error:
            return refusal_response(result.error)
        return _formatted(result, asked, task="translate" if is_translated else "transcribe")

    def _read(self, form: FormData) -> tuple[Asked, UploadFile]:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError(400, "there is no file; send the audio as the form's field file", param="file")
        fields: dict[str, Any] = {}
        for name, value in form.multi_items():
            key = name.removesuffix("[]")
            if key not in Asked.__struct_fields__ or isinstance(value, UploadFile):
                continue
            if key in _LISTS:
                fields.setdefault(key, []).append(value)
            elif value != "":
                fields[key] = value
        try:
            asked = msgspec.convert(fields, Asked, strict=False)
        except msgspec.ValidationError as error:
            raise RequestError(400, f"a field is wrong: {error}") from None
        _check(asked.response_format in FORMATS, "response_format", asked.response_format, FORMATS)
        for one in asked.timestamp_granularities:
            _check(one in _GRANULARITIES, "timestamp_granularities", one, _GRANULARITIES)
        if asked.model and asked.model not in self._models:
            known = ", ".join(self._models)
            raise RequestError(
                404, f"there is no model {asked.model!r}; say one of {known}", code="model_not_found", param="model"
            )
        return asked, file

    def _submit(
        self, client: Client, request: Request, asked: Asked, audio: bytes, name: str, *, is_translated: bool
    ) -> JobHandle:
        key = request.headers.get("idempotency-key", "")
        src = asked.language or self._language
        return client.submit(
            audio,
            src=src,
            tgt=(asked.to_language or _TO_ENGLISH) if is_translated else None,
            request_id=hashlib.sha256(key.encode()).hexdigest() if key else "",
            words="word" in asked.timestamp_granularities,
            partials=asked.stream and not is_translated,
            prompt=asked.prompt,
            temperature=asked.temperature,
            copy=False,
            name=name,
        )


def _check(is_right: bool, field: str, value: str, known: tuple[str, ...]) -> None:  # noqa: FBT001  # it reads as a sentence
    if not is_right:
        raise RequestError(400, f"{field} is {value!r}; say one of {', '.join(known)}", param=field)


async def _unless_gone(request: Request, handle: JobHandle) -> Result:
    """The result; if whoever asked is gone before, the job is cancelled, which is its result then."""
    waiting = asyncio.ensure_future(handle.result())
    watching = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait({waiting, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await _cancel(handle)
        return await waiting
    finally:
        watching.cancel()
        waiting.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(handle: JobHandle) -> None:
    with suppress(SchedError):  # it has ended, or was never taken
        await handle.cancel()


def _formatted(result: Result, asked: Asked, *, task: str) -> Response:
    headers = {"x-ray-sched-job": result.job_id}
    if asked.response_format not in JSON_FORMATS:
        return PlainTextResponse(as_text(result, asked.response_format), headers=headers)
    if asked.response_format == "json":
        return JSONResponse(as_json(result), headers=headers)
    granularities = asked.timestamp_granularities
    page = as_verbose_json(result, task=task, temperature=asked.temperature, granularities=granularities)
    return JSONResponse(page, headers=headers)


async def _events(handle: JobHandle) -> AsyncIterator[str]:
    """Server-Sent Events: deltas, one end with the whole text, ``[DONE]``. A reader that goes cancels the job."""
    deltas = Deltas()
    try:
        async for text in handle.partials():
            if delta := deltas.add(text):
                yield _event({"type": "transcript.text.delta", "delta": delta})
        result = await handle.result()
        if result.error:
            yield _event({"type": "error"} | refusal_body(result.error))
        else:
            if delta := deltas.end(said(result)):
                yield _event({"type": "transcript.text.delta", "delta": delta})
            yield _event({"type": "transcript.text.done", "text": said(result), "usage": usage(result)})
        yield "data: [DONE]\n\n"
    finally:
        if not handle.is_done:
            await asyncio.shield(_cancel(handle))


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
