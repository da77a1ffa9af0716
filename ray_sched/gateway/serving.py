"""Listening: the application under uvicorn in the event loop that is there, until it is told to drain."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.app import make_app
from ray_sched.gateway.gateway import Gateway

_BACKLOG = 1_024
_MAX_MESSAGE_BYTES = 4 * 2**20
"""Of a WebSocket: a minute of speech in one message; a longer one closes the connection with 1009."""
_CLOSING_S = 3.0
_PING_S, _PONG_S = 20.0, 60.0
"""A client that has not answered so long after a ping is gone. An answer waits behind audio that is not read."""


class _Server(uvicorn.Server):
    """Signals are somebody else's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _WebSocket(WebSocketsSansIOProtocol):
    """Reads a message when it is asked for one, so that a session without room holds its client up.

    uvicorn's own, but that a client which does not read cannot keep its connection open by that when it is closed.
    """

    async def send(self, message: Any) -> None:
        """See ASGI."""
        if message["type"] == "websocket.close":
            self.loop.call_later(_CLOSING_S, self.transport.abort)
        await super().send(message)


def listen(address: str, *, has_tokens: bool) -> socket.socket:
    """A listening socket on ``HOST:PORT``. Raises SchedError INVALID_CONFIGURATION or PORT_IN_USE."""
    family, where = check_place(address, has_tokens=has_tokens)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SchedError(
            Code.PORT_IN_USE, f"{address} cannot be listened on: {error.strerror}; choose another address"
        ) from None
    return listening


def check_place(address: str, *, has_tokens: bool) -> tuple[socket.AddressFamily, Any]:
    """The family and address of a socket for ``HOST:PORT``. Raises SchedError INVALID_CONFIGURATION."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004  # the last port there is
        raise SchedError(
            Code.INVALID_CONFIGURATION, f"{address!r} is no HOST:PORT; say where to listen as 127.0.0.1:8080"
        )
    host = host.strip("[]")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SchedError(
            Code.INVALID_CONFIGURATION, f"{host!r} cannot be found: {error.strerror}; give an address"
        ) from None
    if not has_tokens and not _is_loopback(str(where[0])):
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            f"{host} is reached from other machines, and no token is asked for; set gateway.token_hashes, or listen on"
            " 127.0.0.1",
        )
    return family, where


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


async def serve(gateway: Gateway, listening: socket.socket, until: "asyncio.Future[int]", drain_s: float) -> None:
    """Answer requests until ``until`` is done; then those that are being answered may take ``drain_s``."""
    config = uvicorn.Config(
        make_app(gateway),
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=round(drain_s),
        ws=_WebSocket,
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # audio in base64 takes more CPU to compress than it is worth
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PONG_S,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    serving.add_done_callback(lambda _done: until.done() or until.cancel())
    await asyncio.wait([until])
    gateway.is_draining = True
    await gateway.live.drain(drain_s)
    server.should_exit = True
    await serving
