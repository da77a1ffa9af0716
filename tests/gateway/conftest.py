"""A gateway on a port of its own, before a scheduler in the same event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import openai
import pytest

from ray_sched.gateway.gateway import Gateway
from ray_sched.gateway.serving import listen, serve
from ray_sched.settings import GatewayRules
from tests.support.in_process import InProcess


class Door:
    """Where the gateway listens, and what is behind it."""

    def __init__(self, url: str, gateway: Gateway, system: InProcess) -> None:
        self.url = url
        self.gateway = gateway
        self.system = system

    def client(self, key: str = "none", retries: int = 0) -> openai.AsyncOpenAI:
        """OpenAI's own client."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=retries)


OpenDoor = Callable[..., AbstractAsyncContextManager[Door]]


@asynccontextmanager
async def opened(system: InProcess, **rules: object) -> AsyncIterator[Door]:
    """A gateway that listens."""
    known = GatewayRules(**rules)  # type: ignore[arg-type]  # whatever a test says
    door = Gateway(lambda tenant: system.client(tenant=tenant), known, system.dispatcher)
    until: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with contextlib.closing(listen("127.0.0.1:0", has_tokens=False)) as listening:
        serving = asyncio.ensure_future(serve(door, listening, until, 1))
        try:
            yield Door(f"http://127.0.0.1:{listening.getsockname()[1]}", door, system)
        finally:
            until.set_result(0)
            await serving


@pytest.fixture
def open_door() -> OpenDoor:
    return opened
