"""The ASGI application: its routers, and how errors are told. It listens nowhere itself.

Any ASGI server runs it; ``serving`` does, under uvicorn, and Ray Serve can (``serve.ingress``).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from ray_sched.core.errors import SchedError
from ray_sched.gateway import health, jobs, models, page, sessions, speech, transcriptions
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.intake import Intake
from ray_sched.gateway.realtime import routes as realtime
from ray_sched.gateway.refusals import RequestError, refusal_response

ROUTERS = (
    transcriptions.router, speech.router, models.router, jobs.router, sessions.router, health.router, page.router,
    realtime.router,
)  # fmt: skip
"""Each makes the routes of its module for a gateway."""
_REFUSED: dict[int | str, dict[str, Any]] = {"default": {"description": "An error, as OpenAI's API tells it"}}
_NAMES = {404: "not_found", 405: "method_not_allowed"}


def make_app(gateway: Gateway) -> FastAPI:
    """The application of a gateway."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        async with gateway.tenants:
            try:
                yield
            finally:
                await gateway.sessions.end_all()
                await gateway.live.close()

    app = FastAPI(title="ray_sched", lifespan=life, docs_url=None, redoc_url=None, responses=_REFUSED)
    for router in ROUTERS:
        app.include_router(router(gateway))
    if gateway.rules.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=gateway.rules.origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after-ms"],
        )  # fmt: skip
    app.add_middleware(Intake, gateway=gateway)

    @app.exception_handler(RequestError)
    async def tell_request_error(_request: Request, error: RequestError) -> Response:
        return error.response()

    @app.exception_handler(SchedError)
    async def tell_refusal(_request: Request, error: SchedError) -> Response:
        return refusal_response(error.refusal)

    @app.exception_handler(RequestValidationError)
    async def tell_wrong_field(_request: Request, error: RequestValidationError) -> Response:
        wrong = error.errors()[0]
        field = str(wrong["loc"][-1])
        return RequestError(400, f"{field} is wrong: {wrong['msg']}", param=field).response()

    @app.exception_handler(HTTPException)
    async def tell_http_error(_request: Request, error: HTTPException) -> Response:
        return RequestError(
            error.status_code, str(error.detail), code=_NAMES.get(error.status_code, "invalid_request")
        ).response(error.headers)

    return app
