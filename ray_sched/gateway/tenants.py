"""Who asks: bearer tokens, of which only the hashes are kept, and one client of the scheduler for each tenant.

Jobs, sessions and request ids belong to a client, so no tenant reaches another's.
"""

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Self
from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection

from ray_sched.client.client import Client
from ray_sched.gateway.refusals import RequestError

_BEARER = "bearer "
_PROTOCOL = "openai-insecure-api-key."


def token_hash(token: str) -> str:
    """What the settings hold of a token: the hexadecimal SHA-256 of it, which is a secret of 32 random bytes."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tenants:
    """The tenants that may ask, and their clients. Use as ``async with``."""

    def __init__(
        self, make_client: Callable[[str], Client], token_hashes: Mapping[str, str], origins: Collection[str] = ()
    ) -> None:
        """``make_client`` is given a tenant's name. Without ``token_hashes`` whoever reaches this machine may ask.

        ``origins``: of pages of other hosts that browsers may show.
        """
        self._make_client = make_client
        self._origins = frozenset(origins)
        self._hashes = dict(token_hashes)
        self._clients: dict[str, asyncio.Task[Client]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *what: object) -> None:
        await self._stack.aclose()

    def of(self, connection: HTTPConnection) -> str:
        """The tenant that asks. Raises RequestError 401 or 403."""
        self._refuse_strange_pages(connection)
        if not self._hashes:
            _refuse_other_hosts(connection)
            return ""
        said = connection.headers.get("authorization") or _of_protocols(connection)
        given = token_hash(said[len(_BEARER) :].strip()) if said[: len(_BEARER)].lower() == _BEARER else ""
        found = ""
        for tenant, known in self._hashes.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known, given):
                found = tenant
        if not found:
            raise RequestError(
                401, "this token is not known here; send Authorization: Bearer TOKEN", code="invalid_api_key"
            )
        return found

    def _refuse_strange_pages(self, connection: HTTPConnection) -> None:
        """A browser that shows somebody else's page must not reach what its user may reach."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if _split(origin).netloc != connection.headers.get("host"):
            raise RequestError(
                403, f"pages of {origin[:200]} may not ask; see gateway.origins", code="forbidden", param="origin"
            )

    async def client(self, tenant: str) -> Client:
        """The tenant's client, which has joined the scheduler. Raises SchedError if there is none."""
        if tenant not in self._clients:
            self._clients[tenant] = asyncio.ensure_future(self._stack.enter_async_context(self._make_client(tenant)))
        task = self._clients[tenant]
        try:
            return await asyncio.shield(task)
        except BaseException:
            if task.done() and (task.cancelled() or task.exception()):
                self._clients.pop(tenant, None)  # the next request tries again
            raise


def _refuse_other_hosts(connection: HTTPConnection) -> None:
    """A name that somebody else has made to mean this machine lets a page of theirs pass for the gateway's own."""
    if not _is_here(_split(f"//{connection.headers.get('host', '')}").hostname or ""):
        raise RequestError(
            403, "without tokens only programs of this machine may ask; see gateway.token_hashes", code="forbidden"
        )


def _of_protocols(connection: HTTPConnection) -> str:
    """Browsers cannot send headers with a WebSocket: their token is the name of a protocol, as OpenAI has it."""
    protocols: str = connection.headers.get("sec-websocket-protocol", "")
    for name in protocols.split(","):
        if name.strip().startswith(_PROTOCOL):
            return _BEARER + name.strip().removeprefix(_PROTOCOL)
    return ""


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return urlsplit("")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
