"""The gateway's own API: jobs that are asked for now and looked at later, one at a time or as a session.

``POST /v1/jobs`` answers when the job is taken. What was said is known to the gateway that has taken it; any other one
tells where the job is.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from msgspec import Meta, Struct
from starlette.requests import Request

from ray_sched.client import headers
from ray_sched.client.results import JobHandle
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.views.explanation import Explanation
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.gateway.encoder import FORMATS, MEDIA_TYPES, Encoder
from ray_sched.gateway.exchange import request_id
from ray_sched.gateway.forms import answers, check, described_form, read_form
from ray_sched.gateway.gateway import Gateway, Visitor
from ray_sched.gateway.job_book import JobBook
from ray_sched.gateway.models import check_model
from ray_sched.gateway.pages import explanation_page, open_page, result_page, view_page
from ray_sched.gateway.session_log import SessionLog

_LISTS = ("languages", "keywords")
_PENDING = "pending"
_MAX_WAIT_S = 60.0
_Name = Annotated[str, Meta(max_length=200)]


class AskedJob(Struct, frozen=True, kw_only=True):
    """The fields of a new job but its file; others are ignored."""

    model: _Name = ""
    language: str = ""
    languages: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    to_language: str = ""
    speech: bool = False
    """Spoken again, in the target language."""
    session: _Name = ""
    utterance_index: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    """Place in the session; without it, the next one."""
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    deadline_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    partials: bool = False
    """What was recognised so far is told to the readers of the session, too."""
    words: bool = False
    prompt: Annotated[str, Meta(max_length=4_000)] = ""
    keywords: Annotated[tuple[_Name, ...], Meta(max_length=200)] = ()
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None


class Jobs:
    """The jobs of all tenants at this gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._books: defaultdict[str, JobBook] = defaultdict(JobBook)
        self._telling: set[asyncio.Task[None]] = set()

    async def create(self, request: Request) -> JobHandle:
        """A new job, once it is taken. Raises RequestError, SchedError."""
        visitor = await self._gateway.visitor(request)
        asked, upload = await read_form(request, AskedJob, _LISTS)
        check_model(self._gateway, asked.model)
        self._books[visitor.tenant].check_room()
        audio = upload.audio
        self._gateway.bring_audio(visitor.tenant, headers.duration_ms(audio[: headers.HEAD_BYTES], len(audio)))
        log = None
        if asked.session:
            log = await self._gateway.sessions.open(visitor.tenant, visitor.client, asked.session)
        handle = self._submit(visitor, asked, audio, upload.name, request_id(request)).detach()
        if log:
            self._tell(log, handle)
        await handle.accepted()
        self._books[visitor.tenant].add(handle)
        return handle

    async def find(self, request: Request, job_id: str) -> JobHandle | Explanation:
        """The job, or what the scheduler says of one that another gateway has. Raises SchedError UNKNOWN_JOB."""
        tenant = self._gateway.tenants.of(request)
        handle = self._books[tenant].find(job_id)
        return handle or await self.explain(request, job_id)

    async def explain(self, request: Request, job_id: str) -> Explanation:
        """Why it is where it is. Raises SchedError UNKNOWN_JOB, for one of another tenant, too."""
        tenant = self._gateway.tenants.of(request)
        unknown = SchedError(
            Code.UNKNOWN_JOB, f"there is no job {job_id[:80]!r}; ended jobs are forgotten after a while"
        )
        try:
            explanation = await self._gateway.administration.explain(job_id)
        except SchedError as error:
            raise (unknown if error.code is Code.UNKNOWN_JOB else error) from None
        if explanation.job.tenant != tenant:
            raise unknown
        return explanation

    async def cancel(self, found: JobHandle | Explanation) -> None:
        """Cancel it, if it has not ended."""
        if isinstance(found, JobHandle):
            await found.cancel()
        else:
            await self._gateway.administration.cancel(JobFilter(job_ids=(found.job.job_id,)))

    def _submit(self, visitor: Visitor, asked: AskedJob, audio: bytes, name: str, named: str) -> JobHandle:
        return visitor.client.submit(
            audio,
            src=asked.language or asked.languages or self._gateway.rules.language,
            tgt=asked.to_language or None,
            speech=asked.speech,
            session=asked.session,
            utterance_index=asked.utterance_index,
            request_id=named,
            priority=asked.priority,
            deadline_s=asked.deadline_s,
            partials=asked.partials,
            words=asked.words,
            prompt=asked.prompt,
            hotwords=asked.keywords,
            temperature=asked.temperature,
            copy=False,
            name=name,
        )

    def _tell(self, log: SessionLog, handle: JobHandle) -> None:
        """The session knows of its open jobs, and its readers what is recognised of them so far."""

        async def tell() -> None:
            log.n_open_jobs += 1
            try:
                async for text in handle.partials():
                    log.add_partial({
                        "id": handle.job_id, "session": handle.spec.session,
                        "utterance_index": handle.utterance_index, "text": text,
                    })  # fmt: skip
            finally:
                log.n_open_jobs -= 1

        task = asyncio.ensure_future(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes, jobs = APIRouter(), Jobs(gateway)

    @routes.post("/v1/jobs", response_model=None, status_code=202, openapi_extra=described_form(AskedJob, _LISTS))
    async def create(request: Request) -> Response:
        return JSONResponse(await _page(jobs, await jobs.create(request), request), status_code=202)

    @routes.get("/v1/jobs/{job_id}", response_model=None)
    async def job(
        request: Request, job_id: str, wait_s: Annotated[float, Query(ge=0, le=_MAX_WAIT_S)] = 0.0
    ) -> Response:
        found = await jobs.find(request, job_id)
        if wait_s and isinstance(found, JobHandle):
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await found.result()
        return JSONResponse(await _page(jobs, found, request))

    @routes.get("/v1/jobs/{job_id}/explain", response_model=None)
    async def explain(request: Request, job_id: str) -> Response:
        return JSONResponse(explanation_page(await jobs.explain(request, job_id)))

    @routes.get("/v1/jobs/{job_id}/speech", response_model=None, responses=answers(*MEDIA_TYPES))
    async def speech(request: Request, job_id: str, response_format: str = "wav") -> Response:
        check("response_format", response_format, list(FORMATS))
        found = await jobs.find(request, job_id)
        if not isinstance(found, JobHandle) or not found.is_done or not (result := await found.result()).speech:
            raise SchedError(Code.UNKNOWN_JOB, f"no speech of job {job_id[:80]!r} is here")
        encoder = Encoder(response_format)
        data = await asyncio.to_thread(lambda: encoder.add(result.speech, result.speech_rate_hz) + encoder.end())
        return Response(data, media_type=FORMATS[response_format].media_type)

    @routes.delete("/v1/jobs/{job_id}", response_model=None)
    async def cancel(request: Request, job_id: str) -> Response:
        found = await jobs.find(request, job_id)
        await jobs.cancel(found)
        return JSONResponse(await _page(jobs, found, request))

    return routes


async def _page(jobs: Jobs, found: JobHandle | Explanation, request: Request) -> dict[str, Any]:
    if isinstance(found, Explanation):
        return view_page(found.job)
    if found.is_done:
        return result_page(await found.result())
    try:
        return open_page(found, (await jobs.explain(request, found.job_id)).job.status)
    except SchedError:  # its end is on the way here, or the scheduler is away
        return open_page(found, _PENDING)
