"""The client's mail, as it may come."""

import asyncio
from typing import Any

from ray_sched.client.connection import Connection
from ray_sched.core.messages.client_dispatcher import ClientEvent, Mail, PartialText
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


def mail(box: str, *numbers: int) -> Mail:
    events = tuple(PartialText(job_id=box, attempt=number, text="") for number in numbers)
    return Mail(epoch=box, last=numbers[-1], events=events)


async def test_late_mail_of_a_box_that_is_no_more_changes_nothing() -> None:
    heard: list[tuple[str, int]] = []
    n_new_boxes = 0

    def handle(event: ClientEvent) -> None:
        assert isinstance(event, PartialText)
        heard.append((event.job_id, event.attempt))

    def begin_anew() -> None:
        nonlocal n_new_boxes
        n_new_boxes += 1

    postman = Postman(mail("old", 1), mail("new", 1), mail("old", 1), mail("new", 2))
    connection = Connection("c1", 1, postman, handle, lambda: (0, 0), retry_for_s=0)
    connection.start(lambda _error: None, begin_anew)
    async with asyncio.timeout(5):
        await postman.is_out.wait()
    await connection.close()
    assert heard == [("old", 1), ("new", 1), ("new", 2)]
    assert n_new_boxes == 1
