"""A link to an actor, with a handle that answers when a test says so."""

import asyncio
from typing import Any

import pytest

from ray_sched.system.links import RayLink
from ray_sched.wire.links import PeerUnavailableError


class Method:
    def __init__(self, answer: "asyncio.Future[Any]") -> None:
        self._answer = answer

    def remote(self) -> "asyncio.Future[Any]":
        return self._answer


class Handle:
    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.greet = Method(self.answer)


def link_to(handle: Handle) -> RayLink:
    link = RayLink("somebody", "namespace")
    link._handle = handle
    return link


async def test_a_cancellation_in_the_moment_of_the_answer_is_not_forgotten() -> None:
    handle = Handle()
    call = asyncio.create_task(link_to(handle).call("greet", timeout_s=5))
    await asyncio.sleep(0)
    handle.answer.set_result("hello")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_actor_that_does_not_answer_in_time_is_unavailable() -> None:
    with pytest.raises(PeerUnavailableError, match="somebody did not answer greet"):
        await link_to(Handle()).call("greet", timeout_s=0.01)
