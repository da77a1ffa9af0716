"""The client's mail, as it may come."""

import asyncio
from typing import Any

import pytest

from ray_sched.client.connection import Connection
from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, NotifyGap, NotifyRefused
from ray_sched.core.messages.client_dispatcher import Mail, MissingResult
from ray_sched.wire.codec import encode
from ray_sched.wire.peers import Peer
from tests.support.builders import a_spec


class Postman:
    """A Dispatcher that answers polls with these mails, in this order, and then not at all."""

    def __init__(self, *mails: Mail) -> None:
        self._mails = list(mails)
        self.is_out = asyncio.Event()

    def peer(self, actor: str) -> Peer:
        del actor
        return self

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        del args, timeout_s
        if method == "poll" and self._mails:
            return encode(self._mails.pop(0))
        self.is_out.set()
        return await asyncio.Event().wait()


def mail(epoch: str, *numbers: int) -> Mail:
    events = tuple(MissingResult(session="s", first_index=n, last_index=n, why="") for n in numbers)
    return Mail(epoch=epoch, last=numbers[-1], events=events)


async def test_every_mail_of_a_poll_reaches_the_brain_and_what_it_decides_is_carried_out() -> None:
    performed: list[ClientEffect] = []
    brain = ClientBrain("c1", 1, 0)
    postman = Postman(mail("epoch", 1), mail("epoch", 3), mail("epoch", 2, 3))
    connection = Connection(brain, postman, performed.extend)
    connection.start()
    async with asyncio.timeout(5):
        await postman.is_out.wait()
    await connection.close()
    assert [effect.missing.first_index for effect in performed if isinstance(effect, NotifyGap)] == [1, 2, 3]


class Raising(Postman):
    """A Dispatcher that raises what nobody expected ``n_times``, and then answers polls as a Postman does."""

    def __init__(self, n_times: int, *mails: Mail) -> None:
        super().__init__(*mails)
        self._n_left = n_times

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        if method == "poll" and self._n_left > 0:
            self._n_left -= 1
            raise RuntimeError("who has changed the messages?")
        return await super().call(method, *args, timeout_s=timeout_s)


async def test_a_surprise_is_survived_and_the_next_poll_asks_for_everything(caplog: pytest.LogCaptureFixture) -> None:
    performed: list[ClientEffect] = []
    brain = ClientBrain("c1", 1, 10_000)
    postman = Raising(2, mail("epoch", 1))
    connection = Connection(brain, postman, performed.extend)
    connection.start()
    async with asyncio.timeout(5):
        await postman.is_out.wait()
    await connection.close()
    assert [effect.missing.first_index for effect in performed if isinstance(effect, NotifyGap)] == [1]
    assert caplog.text.count("who has changed the messages?") >= 2


async def test_who_never_gets_an_answer_that_can_be_handled_is_told_so() -> None:
    performed: list[ClientEffect] = []
    brain = ClientBrain("c1", 1, 0)
    connection = Connection(brain, Raising(1_000), performed.extend)
    brain.open(1, a_spec("r1"), 0)
    connection.start()
    async with asyncio.timeout(5):
        while not brain.ended:  # noqa: ASYNC110  # nobody has an event for it
            await asyncio.sleep(0.005)
    await connection.close()
    (refused,) = [effect for effect in performed if isinstance(effect, NotifyRefused)]
    assert refused.number == 1
    assert "RuntimeError: who has changed the messages?); is it of another version?" in refused.refusal.message
