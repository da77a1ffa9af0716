"""A link to an actor, with a handle that answers when a test says so."""

import asyncio
import threading
from typing import Any

import pytest
import ray
import ray.exceptions

from ray_sched.system.ray_peers import RayPeer
from ray_sched.wire.peers import PeerGoneError, PeerUnavailableError


class Method:
    def __init__(self, answer: "asyncio.Future[Any]") -> None:
        self._answer = answer

    def remote(self) -> "asyncio.Future[Any]":
        return self._answer


class Handle:
    def __init__(self, actor_id: str = "first") -> None:
        self._actor_id = actor_id
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.greet = Method(self.answer)


def peer_to(handle: Handle) -> RayPeer:
    peer = RayPeer("somebody", "namespace")
    peer._handle = handle
    return peer


async def test_a_cancellation_in_the_moment_of_the_answer_is_not_forgotten() -> None:
    handle = Handle()
    call = asyncio.create_task(peer_to(handle).call("greet", timeout_s=5))
    await asyncio.sleep(0)
    handle.answer.set_result("hello")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_actor_that_does_not_answer_in_time_is_unavailable() -> None:
    with pytest.raises(PeerUnavailableError, match="somebody did not answer greet"):
        await peer_to(Handle()).call("greet", timeout_s=0.01)


async def test_a_call_that_finds_its_actor_dead_goes_to_the_one_that_has_taken_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead, successor = Handle(), Handle("second")
    dead.answer.set_exception(ray.exceptions.ActorDiedError())
    successor.answer.set_result("hello")
    monkeypatch.setattr(ray, "get_actor", lambda _name, namespace: successor)  # noqa: ARG005
    assert await peer_to(dead).call("greet", timeout_s=5) == "hello"


async def test_an_actor_that_is_dead_while_ray_still_names_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Handle()
    dead.answer.set_exception(ray.exceptions.ActorDiedError())
    monkeypatch.setattr(ray, "get_actor", lambda _name, namespace: dead)  # noqa: ARG005
    with pytest.raises(PeerGoneError, match="somebody has ended"):
        await peer_to(dead).call("greet", timeout_s=5)


async def test_looking_an_actor_up_is_bounded_and_asks_ray_once(monkeypatch: pytest.MonkeyPatch) -> None:
    may_answer = threading.Event()
    asked: list[str] = []

    def get_actor(name: str, namespace: str) -> Handle:
        asked.append(f"{namespace}/{name}")
        may_answer.wait()
        raise ValueError

    monkeypatch.setattr(ray, "get_actor", get_actor)
    peer = RayPeer("somebody", "namespace")
    calls = [peer.call("greet", timeout_s=0.05) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {PeerUnavailableError}
    assert asked == ["namespace/somebody"]
    may_answer.set()
    with pytest.raises(PeerGoneError, match="there is no actor"):
        await peer.call("greet", timeout_s=5)
