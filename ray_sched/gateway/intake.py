"""Before the routes: each request gets its id, is counted, and is kept within the limits of what is in hand."""

import asyncio
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_sched.core.errors import SchedError
from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.refusals import RequestError, refusal_response

SILENT_S = 30.0
"""A body of which nothing comes for so long is given up."""
_UNKNOWN = "unknown"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Intake:
    """The outermost ASGI application. WebSockets pass: their own routes limit them."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gateway, began_s, status = self._gateway, time.monotonic(), 500
        request_id = f"req_{secrets.token_hex(12)}"

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        body = _Body(receive, gateway)
        try:
            if not _is_work(scope):
                await self._app(scope, body.receive, send_named)
                return
            try:
                with gateway.limits.request():
                    await self._app(scope, body.receive, send_named)
            except SchedError as error:
                await refusal_response(error.refusal)(scope, receive, send_named)
        finally:
            gateway.limits.let_go(body.n_read)
            method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
            gateway.meters.answered(method, _route(scope), status, time.monotonic() - began_s)


class _Body:
    """The body of one request while it is read."""

    def __init__(self, receive: Receive, gateway: Gateway) -> None:
        self.n_read = 0
        self._receive = receive
        self._gateway = gateway
        self._is_whole = False

    async def receive(self) -> Message:
        """The next part. Raises RequestError 408 and 413, SchedError OVERLOADED."""
        try:
            async with asyncio.timeout(None if self._is_whole else SILENT_S):
                message = await self._receive()
        except TimeoutError:
            raise RequestError(408, f"nothing came for {SILENT_S:g} s; send the request again") from None
        n_bytes = len(message.get("body", b""))
        most_mb = self._gateway.rules.max_upload_mb
        if self.n_read + n_bytes > most_mb * 2**20:
            raise RequestError(
                413, f"the request has more than {most_mb} MiB; cut the recording, or compress it", param="file"
            )
        self._gateway.limits.hold(n_bytes)
        self.n_read += n_bytes
        self._is_whole = not message.get("more_body", False)
        return message


def _is_work(scope: Scope) -> bool:
    """What takes a place among the requests that are answered at once: not questions, which are quick."""
    return str(scope["method"]) == "POST"


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return str(getattr(route, "path", _UNKNOWN))
