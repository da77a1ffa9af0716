"""``GET /v1/realtime?intent=transcription`` and ``/v1/realtime/translations``: who may open a session, before it opens.

A refusal is an answer to the HTTP request, before it becomes a WebSocket: 401 and 403 for who may not, 503 where no
session more can be served, 429 where the tenant has too many, 404 for a model that there is not.
"""

from typing import Annotated

from fastapi import APIRouter, Query, WebSocket
from starlette.responses import Response

from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.models import check_model
from ray_sched.gateway.realtime.configuration import Kind
from ray_sched.gateway.realtime.session import Session
from ray_sched.gateway.refusals import RequestError, refusal_response

_PROTOCOL = "realtime"
"""What browsers ask for; their token is another one."""
_DRAINING = Refusal(code=Code.SHUTTING_DOWN, message="the gateway ends; connect again", retry_after_ms=1_000)


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.websocket("/v1/realtime")
    async def transcription(
        socket: WebSocket,
        intent: Annotated[str, Query(max_length=100)] = "",
        model: Annotated[str, Query(max_length=200)] = "",
        session_id: Annotated[str, Query(max_length=100)] = "",
        last_event_id: Annotated[str, Query(max_length=100)] = "",
    ) -> None:
        if intent != "transcription":
            error = RequestError(
                400, "only transcription is served here; ask for ?intent=transcription", param="intent"
            )
            await socket.send_denial_response(error.response())
            return
        await _serve(gateway, socket, "transcription", model, session_id, last_event_id)

    @routes.websocket("/v1/realtime/translations")
    async def translation(
        socket: WebSocket,
        model: Annotated[str, Query(max_length=200)] = "",
        session_id: Annotated[str, Query(max_length=100)] = "",
        last_event_id: Annotated[str, Query(max_length=100)] = "",
    ) -> None:
        await _serve(gateway, socket, "translation", model, session_id, last_event_id)

    return routes


async def _serve(  # what a URL says
    gateway: Gateway, socket: WebSocket, kind: Kind, model: str, session_id: str, last_event_id: str
) -> None:
    opened = await _open(gateway, socket, kind, model, session_id)
    if isinstance(opened, Response):
        await socket.send_denial_response(opened)
        return
    wanted = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(_PROTOCOL if _PROTOCOL in wanted else None)
    if opened.id == session_id:
        opened.resume(last_event_id)
    await gateway.live.serve(opened, socket)


async def _open(gateway: Gateway, socket: WebSocket, kind: Kind, model: str, session_id: str) -> Session | Response:
    """The session of a connection, or why there is none."""
    try:
        tenant, client = await gateway.visitor(socket)
        if gateway.is_draining:
            return refusal_response(_DRAINING)
        known = gateway.live.find(session_id, tenant)
        if known and known.configuration.kind == kind:
            return known
        check_model(gateway, model)
        return gateway.live.open(kind, tenant, client, model)
    except RequestError as error:
        return error.response()
    except SchedError as error:
        return refusal_response(error.refusal, 503 if gateway.limits.are_sessions_full else 0)
