"""The client's mail, as it may come."""

import asyncio
from typing import Any

from ray_sched.client.connection import Connection
from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, NotifyGap
from ray_sched.core.messages.client_dispatcher import Mail, MissingResult
from ray_sched.wire.codec import encode
from ray_sched.wire.peers import Peer


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
