"""``GET /v1/sessions/{name}/events``: what is delivered of a session, in its order, as Server-Sent Events.

A reader that was cut off says the number of the last event it has seen, and goes on from there.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.requests import Request

from ray_sched.gateway.exchange import EVENTS, event, event_stream
from ray_sched.gateway.forms import answers
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.refusals import RequestError
from ray_sched.gateway.session_log import SessionLog

_ALIVE = ": still here\n\n"
_MAX_NAME = 200


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.get("/v1/sessions/{name}/events", response_model=None, responses=answers(EVENTS))
    async def events(request: Request, name: str, after: Annotated[int, Query(ge=0)] = 0) -> Response:
        visitor = await gateway.visitor(request)
        if len(name) > _MAX_NAME:
            raise RequestError(400, f"a session's name has at most {_MAX_NAME} letters", param="name")
        last = request.headers.get("last-event-id", "")
        log = await gateway.sessions.open(visitor.tenant, visitor.client, name)
        return event_stream(_events(gateway, log, int(last) if last.isdecimal() else after))

    @routes.delete("/v1/sessions/{name}", response_model=None, status_code=204)
    async def end(request: Request, name: str) -> Response:
        tenant = gateway.tenants.of(request)
        if not await gateway.sessions.end(tenant, name):
            raise RequestError(404, f"there is no session {name[:80]!r} here", code="not_found", param="name")
        return Response(status_code=204)

    return routes


async def _events(gateway: Gateway, log: SessionLog, after: int) -> AsyncIterator[str]:
    yield _ALIVE  # the reader knows at once that it is heard
    async for what in log.events(after):
        if what:
            yield event(what.page, kind=what.kind, number=what.number)
        elif gateway.is_draining and not log.n_open_jobs:
            return
        else:
            yield _ALIVE
