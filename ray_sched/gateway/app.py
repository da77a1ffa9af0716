"""The ASGI application: routes, who may ask, how much at once, and how errors are told. It listens nowhere itself."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from ray_sched.client.client import Client
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.gateway.refusals import RequestError, refusal_response
from ray_sched.gateway.tenants import Tenants
from ray_sched.gateway.transcriptions import Transcriptions
from ray_sched.settings import GatewayRules

_RETRY_MS = 1_000


class Gateway:
    """The state of one application: its tenants, and how much it has in hand."""

    def __init__(self, make_client: Callable[[str], Client], rules: GatewayRules) -> None:
        self.tenants = Tenants(make_client, rules.token_hashes)
        self.rules = rules
        self.is_draining = False
        """Set when no new request is wanted: ``/readyz`` says so, and balancers go elsewhere."""
        self._transcriptions = Transcriptions(rules.language, rules.models)
        self._n_requests = 0

    async def transcribe(self, request: Request, *, is_translated: bool) -> Response:
        """One request with a file. Raises RequestError, SchedError."""
        tenant = self.tenants.of(request)
        _refuse_large(request, self.rules.max_upload_mb * 2**20)
        if self._n_requests >= self.rules.max_requests:
            message = f"{self._n_requests} requests are being answered; try again in a second"
            return refusal_response(Refusal(code=Code.OVERLOADED, message=message, retry_after_ms=_RETRY_MS))
        self._n_requests += 1
        try:
            client = await self.tenants.client(tenant)
            return await self._transcriptions.answer(request, client, is_translated=is_translated)
        finally:
            self._n_requests -= 1

    def models(self) -> list[dict[str, Any]]:
        """The names that requests may give, all of them the scheduler's engines."""
        return [{"id": name, "object": "model", "created": 0, "owned_by": "ray_sched"} for name in self.rules.models]


def make_app(gateway: Gateway) -> FastAPI:
    """The application of a gateway. Any ASGI server runs it; ``serving`` does, under uvicorn."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        async with gateway.tenants:
            yield

    app = FastAPI(title="ray_sched", lifespan=life, docs_url=None, redoc_url=None)
    _add_routes(app, gateway)

    @app.middleware("http")
    async def name_request(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["x-request-id"] = f"req_{secrets.token_hex(12)}"
        return response

    @app.exception_handler(RequestError)
    async def tell_request_error(_request: Request, error: RequestError) -> Response:
        return error.response()

    @app.exception_handler(SchedError)
    async def tell_refusal(_request: Request, error: SchedError) -> Response:
        return refusal_response(error.refusal)

    @app.exception_handler(HTTPException)
    async def tell_http_error(_request: Request, error: HTTPException) -> Response:
        return RequestError(error.status_code, str(error.detail), code="not_found").response()

    return app


def _add_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/audio/transcriptions", response_model=None)
    async def transcriptions(request: Request) -> Response:
        return await gateway.transcribe(request, is_translated=False)

    @app.post("/v1/audio/translations", response_model=None)
    async def translations(request: Request) -> Response:
        return await gateway.transcribe(request, is_translated=True)

    @app.get("/v1/models", response_model=None)
    async def models(request: Request) -> Response:
        gateway.tenants.of(request)
        return JSONResponse({"object": "list", "data": gateway.models()})

    @app.get("/v1/models/{name}", response_model=None)
    async def model(request: Request, name: str) -> Response:
        gateway.tenants.of(request)
        found = next((one for one in gateway.models() if one["id"] == name), None)
        if found is None:
            raise RequestError(404, f"there is no model {name!r}", code="model_not_found", param="model")
        return JSONResponse(found)

    @app.get("/healthz", response_model=None)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", response_model=None)
    async def readyz() -> Response:
        if gateway.is_draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        return JSONResponse({"status": "ready"})


def _refuse_large(request: Request, most_bytes: int) -> None:
    """Refuse a body that is too large, from what it says of itself, or while it is read."""
    sentence = f"the request has more than {most_bytes // 2**20} MiB; cut the recording, or compress it"
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > most_bytes:
        raise RequestError(413, sentence, param="file")
    receive, n_read = request.receive, 0

    async def counted() -> Message:
        nonlocal n_read
        message = await receive()
        n_read += len(message.get("body", b""))
        if n_read > most_bytes:
            raise RequestError(413, sentence, param="file")
        return message

    request._receive = counted  # noqa: SLF001  # Starlette has no other place for it
