"""A link to an actor, with a handle that answers when a test says so."""

import asyncio
import threading
from typing import Any

import pytest
import ray
import ray.exceptions

from ray_sched.system.ray_peers import RayPeer, why_not_started
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


NOT_MADE = (
    "The actor died because of an error raised in its creation task, \x1b[36mray::agent:A.__init__()\x1b[39m (pid=7)\n"
    "           ^^^^^^^^^^^^\n"
    "RuntimeError: The actor with name A failed to import on the worker. This may be because needed library"
    " dependencies are not installed in the worker environment:\n\n\x1b[36mray::agent:A.__init__()\x1b[39m (pid=7)\n"
    "           ^^^^^^^^^^^^\nModuleNotFoundError: No module named 'ray_sched'"
)
"""As Ray 2.60 writes it."""


def test_an_actor_whose_process_lacks_the_package_says_so_and_what_to_do() -> None:
    assert why_not_started(NOT_MADE) == (
        "ModuleNotFoundError: No module named 'ray_sched'; install ray_sched for the Python of Ray on that machine"
    )


def test_an_actor_that_cannot_be_made_says_its_last_error() -> None:
    text = NOT_MADE.replace("ModuleNotFoundError: No module named 'ray_sched'", "ValueError: three\nlegs")
    assert why_not_started(text) == "ValueError: three"


def test_of_any_other_death_nothing_is_known() -> None:
    assert why_not_started("The actor is dead because its node has died. ValueError: no") == ""


@pytest.mark.parametrize("is_named", [True, False])
async def test_what_kept_an_actor_from_starting_is_in_the_error_though_ray_has_forgotten_its_name(
    monkeypatch: pytest.MonkeyPatch,
    is_named: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    dead = Handle()
    died = ray.exceptions.ActorDiedError()
    died.error_msg = NOT_MADE
    dead.answer.set_exception(died)

    def get_actor(_name: str, namespace: str) -> Handle:
        del namespace
        if not is_named:
            raise ValueError
        return dead

    monkeypatch.setattr(ray, "get_actor", get_actor)
    with pytest.raises(PeerGoneError, match="somebody cannot be started: ModuleNotFoundError"):
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
