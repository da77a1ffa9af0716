"""Who asks: bearer tokens, of which only the hashes are kept, and one client of the scheduler for each tenant.

Jobs, sessions and request ids belong to a client, so no tenant reaches another's.
"""

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Self
from urllib.parse import urlsplit

from starlette.requests import Request

from ray_sched.client.client import Client
from ray_sched.gateway.refusals import RequestError

_BEARER = "bearer "


def token_hash(token: str) -> str:
    """What the settings hold of a token: the hexadecimal SHA-256 of it, which is a secret of 32 random bytes."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tenants:
    """The tenants that may ask, and their clients. Use as ``async with``."""

    def __init__(self, make_client: Callable[[str], Client], token_hashes: Mapping[str, str]) -> None:
        """``make_client`` is given a tenant's name. Without ``token_hashes`` whoever reaches this machine may ask."""
        self._make_client = make_client
        self._hashes = dict(token_hashes)
        self._clients: dict[str, asyncio.Task[Client]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *what: object) -> None:
        await self._stack.aclose()

    def of(self, request: Request) -> str:
        """The tenant that asks. Raises RequestError 401 or 403."""
        if not self._hashes:
            _refuse_strangers(request)
            return ""
        said = request.headers.get("authorization", "")
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


def _refuse_strangers(request: Request) -> None:
    """Without tokens a browser that shows somebody else's page must not reach what listens on this machine only."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    origin = request.headers.get("origin")
    if not _is_here(host) or (origin and urlsplit(origin).netloc != request.headers.get("host")):
        raise RequestError(
            403, "without tokens only programs of this machine may ask; see gateway.token_hashes", code="forbidden"
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
