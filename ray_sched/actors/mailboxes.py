"""The mailboxes of the Dispatcher's clients: which process of a client is the current one, and when its mail goes out.

What is mail is decided elsewhere, and saved before it is put in. A mailbox has an epoch of its own: the client that
acknowledges mail of another epoch, from another life of the Dispatcher or from before it was replaced, acknowledges
nothing.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from ray_sched.core.delivery.mailbox import Mailbox
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.messages.client_dispatcher import ClientEvent, Mail, Poll

_POLL_WAIT_S = 2.0


class ClientMailbox:
    """One client's mail, for the newest of the processes that have its id."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._mailbox = Mailbox()
        self.generation = 0
        """Of the newest process of the client that has spoken; 0: none has yet."""
        self._has_mail = asyncio.Event()
        self._n_answers = 0
        self.held_bytes = 0
        """Audio in the client's memory, by its last poll."""
        self.stored_bytes = 0
        """Audio it has in the object store, by its last poll."""

    def __len__(self) -> int:
        """Events that the client has not acknowledged."""
        return len(self._mailbox)

    def put(self, event: ClientEvent) -> None:
        """Mail for this client: it goes with the answer that is on its way, else with the poll that waits."""
        self._mailbox.put(event)
        if not self._n_answers:
            self._has_mail.set()

    @contextlib.contextmanager
    def being_answered(self) -> Iterator[None]:
        """While a call of this client is answered, mail waits for the answer: no poll has to return with it."""
        self._n_answers += 1
        try:
            yield
        finally:
            self._n_answers -= 1
            if self._mailbox.has_mail:
                self._has_mail.set()

    def handle_poll(self, poll: Poll) -> None:
        """Handle a poll: note what audio the client holds, forget the mail it has, hand out again what it misses."""
        self.held_bytes, self.stored_bytes = poll.held_bytes, poll.stored_bytes
        if poll.epoch == self._epoch:
            self._mailbox.acknowledge(poll.acked)
        if poll.is_resync:
            self._mailbox.resync()

    async def wait_for_mail(self) -> None:
        """Wait until there is mail, or the client was replaced: about two seconds at most."""
        if self._mailbox.has_mail:
            return
        self._has_mail.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_WAIT_S):
                await self._has_mail.wait()

    def mail(self, n_slots: int) -> Mail:
        """What was not handed out yet; ``n_slots``: leased in the whole cluster."""
        last, events = self._mailbox.take()
        return Mail(epoch=self._epoch, last=last, events=events, slots=n_slots)

    def mail_of_refusal(self, refusal: Refusal, n_slots: int) -> Mail:
        """For a process that is not this client any more: no mail, and why."""
        return Mail(epoch=self._epoch, last=0, events=(), slots=n_slots, refusal=refusal)

    def refuse(self, generation: int) -> Refusal | None:
        """Why a process of this generation is not answered: a newer one is the client."""
        if generation < self.generation:
            return Refusal(code=Code.CLIENT_REPLACED, message="a newer process has taken over this client id")
        return None

    def end(self) -> None:
        """A newer process of the client has replaced this one: its poll waits no longer."""
        self._has_mail.set()


class Mailboxes:
    """The mailboxes of all clients that are there, or that have mail."""

    def __init__(self, epoch: str) -> None:
        """``epoch``: of the Dispatcher; those of its mailboxes begin with it."""
        self._epoch = epoch
        self._n_epochs = 0
        self._by_client: dict[str, ClientMailbox] = {}

    def of(self, client_id: str, generation: int = 0) -> ClientMailbox:
        """The mailbox of this client, for a process of this generation; 0: no process speaks, there is only mail.

        A newer process of a client begins with an empty mailbox and asks for what it misses.
        """
        found = self._by_client.get(client_id)
        if found is not None and generation <= found.generation:
            return found
        if found is None or found.generation:
            found = self._replace(client_id, found)
        found.generation = generation
        return found

    def _replace(self, client_id: str, replaced: ClientMailbox | None) -> ClientMailbox:
        self._n_epochs += 1
        made = self._by_client[client_id] = ClientMailbox(f"{self._epoch}/{self._n_epochs}")
        if replaced is not None:
            replaced.end()
        return made

    def drop(self, client_id: str) -> None:
        """The client is gone, and with it its mail."""
        self._by_client.pop(client_id, None)

    def __len__(self) -> int:
        return len(self._by_client)

    @property
    def n_unacknowledged(self) -> int:
        """Events that clients have not acknowledged."""
        return sum(len(mailbox) for mailbox in self._by_client.values())

    @property
    def held_bytes(self) -> int:
        """Audio in all clients' memory, by their last polls."""
        return sum(mailbox.held_bytes for mailbox in self._by_client.values())

    @property
    def stored_bytes(self) -> int:
        """Audio that clients have in the object store, by their last polls."""
        return sum(mailbox.stored_bytes for mailbox in self._by_client.values())
