"""The client's side of its conversation with the Dispatcher: one Outbox out, one long poll in.

Everything said is repeated until it was answered; every event is handled once, however often it comes. It knows
nothing of audio.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.client_dispatcher import (
    Answer,
    Cancel,
    ClientBatch,
    ClientEvent,
    ClientMessage,
    ClientReply,
    Mail,
    Poll,
    Refused,
    Submit,
)
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 10.0
_AGAIN_AFTER_S = 0.1
_LAST_WORDS_S = 2.0
_REMEMBERED_EPOCHS = 100
NO_ANSWER = Refused(
    refusal=Refusal(code=Code.SCHEDULER_NOT_RUNNING, message="the scheduler does not answer; is it running?")
)


class Connection:
    """One client process talking to the Dispatcher."""

    def __init__(
        self,
        client_id: str,
        generation: int,
        directory: Directory,
        on_event: Callable[[ClientEvent], None],
        ledger_bytes: Callable[[], tuple[int, int]],
        retry_for_s: float,
    ) -> None:
        self._client_id = client_id
        self._generation = generation
        self._dispatcher = directory.peer("dispatcher")
        self._on_event = on_event
        self._ledger_bytes = ledger_bytes
        self._retry_for_s = retry_for_s
        self._outbox: Outbox[ClientMessage, Answer | None] = Outbox(self._send, on_lost=self._lost)
        self._epoch = ""
        self._past_epochs: deque[str] = deque(maxlen=_REMEMBERED_EPOCHS)
        self._acked = 0
        self._is_resync = False
        self.slots = 0
        """Slots of the cluster, by the last mail."""
        self.fatal: SchedError | None = None
        """Why nothing more will come, if so."""
        self._on_fatal: Callable[[SchedError], None] = lambda _error: None
        self._on_new_epoch: Callable[[], None] = lambda: None
        self._polling: asyncio.Task[None] | None = None

    def start(self, on_fatal: Callable[[SchedError], None], on_new_epoch: Callable[[], None]) -> None:
        """Begin to poll. ``on_new_box``: the Dispatcher has forgotten this client, or is another one than before."""
        self._on_fatal, self._on_new_epoch = on_fatal, on_new_epoch
        self._polling = asyncio.create_task(self._poll())

    def ask(self, message: Submit | Cancel) -> "asyncio.Future[Answer | None]":
        """Say something; the future has the answer. Gives up, with a refusal, after ``patience_s`` without one."""
        return self._outbox.ask(message)

    def send(self, message: ClientMessage) -> None:
        """Say something that has no answer."""
        self._outbox.put(message)

    async def close(self) -> None:
        """Say what is still to be said, then stop."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._outbox.flush()
        except TimeoutError:
            log.warning("the scheduler did not take this client's last words")
        if self._polling:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self._outbox.close()

    # --- out -------------------------------------------------------------------------------------------------------

    async def _send(self, messages: list[ClientMessage]) -> list[Answer | None]:
        """Send a batch; repeat while the Dispatcher is away (submits are idempotent) until patience ends."""
        raw = encode(ClientBatch(client_id=self._client_id, generation=self._generation, messages=tuple(messages)))
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._retry_for_s
        while True:
            try:
                reply = decode(await self._dispatcher.call("client", raw, timeout_s=_CALL_TIMEOUT_S), ClientReply)
                break
            except (PeerGoneError, PeerUnavailableError):
                self._is_resync = True
                if loop.time() >= give_up_at:
                    return [NO_ANSWER if isinstance(m, Submit | Cancel) else None for m in messages]
                await asyncio.sleep(_AGAIN_AFTER_S)
        if reply.mail.refusal:
            self._end(reply.mail.refusal)
            return [Refused(refusal=reply.mail.refusal)] * len(messages)
        loop.call_soon(loop.call_soon, self._take, reply.mail)  # after the answers, which tell what the mail is about
        answers = iter(reply.answers)
        return [next(answers) if isinstance(m, Submit | Cancel) else None for m in messages]

    def _lost(self, messages: list[ClientMessage], error: Exception) -> None:
        log.error("%d messages to the dispatcher failed: %s", len(messages), error)

    # --- in --------------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        while self.fatal is None:
            held, stored = self._ledger_bytes()
            poll = Poll(
                client_id=self._client_id,
                generation=self._generation,
                epoch=self._epoch,
                acked=self._acked,
                is_resync=self._is_resync,
                held_bytes=held,
                stored_bytes=stored,
            )
            try:
                raw = await self._dispatcher.call("poll", encode(poll), timeout_s=_CALL_TIMEOUT_S)
            except (PeerGoneError, PeerUnavailableError):
                self._is_resync = True
                await asyncio.sleep(_AGAIN_AFTER_S)
                continue
            self._is_resync = self._is_resync and not poll.is_resync
            self._take(decode(raw, Mail))

    def _take(self, mail: Mail) -> None:
        """Handle the events of a mail that were not handled before; a hole in their numbers asks for a resync."""
        if mail.refusal:
            self._end(mail.refusal)
            return
        self.slots = mail.slots
        if mail.epoch in self._past_epochs:
            return  # late mail of a box that is no more: going back to it would begin that one and the next anew
        if mail.epoch != self._epoch:
            if self._epoch:
                self._past_epochs.append(self._epoch)
            is_first, self._epoch, self._acked = not self._epoch, mail.epoch, 0
            if not is_first:
                self._on_new_epoch()
        first = mail.last - len(mail.events) + 1
        if first > self._acked + 1:
            self._is_resync = True
            return
        for number, event in enumerate(mail.events, start=first):
            if number > self._acked:
                self._acked = number
                self._on_event(event)

    def _end(self, refusal: Refusal) -> None:
        if self.fatal is None:
            self.fatal = SchedError.of(refusal)
            self._on_fatal(self.fatal)
