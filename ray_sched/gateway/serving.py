"""Listening: the application under uvicorn in the event loop that is there, until it is told to drain."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ray_sched.core.errors import Code, SchedError
from ray_sched.gateway.app import make_app
from ray_sched.gateway.gateway import Gateway

_BACKLOG = 1_024


class _Server(uvicorn.Server):
    """Signals are somebody else's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen(address: str, *, has_tokens: bool) -> socket.socket:
    """A listening socket on ``HOST:PORT``. Raises SchedError INVALID_CONFIGURATION or PORT_IN_USE."""
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
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SchedError(
            Code.PORT_IN_USE, f"{address} cannot be listened on: {error.strerror}; choose another --listen"
        ) from None
    return listening


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
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    serving.add_done_callback(lambda _done: until.done() or until.cancel())
    await asyncio.wait([until])
    gateway.is_draining = True
    server.should_exit = True
    await serving
