"""The client's side of its conversation with the Dispatcher: one Outbox out, one long poll in.

It calls, encodes and waits. The client's brain decides what is sent, repeated, given up and handled. It knows nothing
of audio.
"""

import asyncio
import logging
from collections.abc import Callable

from ray_sched.core.client.brain import NO_ANSWER, ClientBrain
from ray_sched.core.client.effects import ClientEffect, SendMessage
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.client_dispatcher import Answer, Cancel, ClientReply, Mail, Refused, Submit
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 10.0
_LAST_MESSAGES_S = 2.0


class Connection:
    """One client process talking to the Dispatcher."""

    def __init__(self, brain: ClientBrain, directory: Directory, perform: Callable[[list[ClientEffect]], None]) -> None:
        """``perform`` carries out the brain's effects, at once."""
        self._brain = brain
        self._dispatcher = directory.peer("dispatcher")
        self._perform = perform
        self._outbox: Outbox[SendMessage, Answer | None] = Outbox(self._send, on_lost=self._lost)
        self._is_closed = False
        self._polling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._polling = asyncio.create_task(self._poll())

    def send(self, item: SendMessage) -> None:
        """Send this with whatever else waits; the brain handles the answer. Once closed, nothing is sent."""
        if not self._is_closed:
            self._outbox.put(item)

    def cancel(self, job_id: str) -> "asyncio.Future[Answer | None]":
        """Ask the Dispatcher to cancel a job; the future has its answer. Raises OutboxClosedError once closed."""
        return self._outbox.ask(SendMessage(Cancel(job_id=job_id)))

    async def close(self) -> None:
        """Send what still waits to be sent, for two seconds at most, then stop."""
        try:
            async with asyncio.timeout(_LAST_MESSAGES_S):
                await self._outbox.flush()
        except TimeoutError:
            log.warning("the scheduler did not take this client's last messages")
        self._is_closed = True
        if self._polling:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self._outbox.close()

    # --- out -------------------------------------------------------------------------------------------------------

    async def _send(self, items: list[SendMessage]) -> list[Answer | None]:
        """Send a batch, again and again while the Dispatcher is away and the brain has not given up."""
        raw = encode(self._brain.batch(items))
        clock = asyncio.get_running_loop().time
        began_s = clock()
        while True:
            try:
                reply = decode(await self._dispatcher.call("client", raw, timeout_s=_CALL_TIMEOUT_S), ClientReply)
                break
            except (PeerGoneError, PeerUnavailableError):
                again_after_ms = self._brain.call_failed((clock() - began_s) * 1000)
                if again_after_ms is None:
                    self._perform(self._brain.give_up(items))
                    return _one_answer(items, NO_ANSWER)
                await asyncio.sleep(again_after_ms / 1000)
        self._perform(self._brain.handle_reply(items, reply))
        if reply.mail.refusal:
            return _one_answer(items, reply.mail.refusal)
        answers = iter(reply.answers)
        return [next(answers) if isinstance(item.message, Submit | Cancel) else None for item in items]

    def _lost(self, items: list[SendMessage], error: Exception) -> None:
        """The Dispatcher, or this side of the call, has raised what nobody expected."""
        log.error("%d messages to the dispatcher failed: %s", len(items), error)
        refusal = error.refusal if isinstance(error, SchedError) else NO_ANSWER
        self._perform(self._brain.give_up(items, refusal))

    # --- in --------------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        clock = asyncio.get_running_loop().time
        surprised_s: float | None = None
        while self._brain.ended is None:
            poll = self._brain.poll()
            try:
                raw = await self._dispatcher.call("poll", encode(poll), timeout_s=_CALL_TIMEOUT_S)
                self._perform(self._brain.handle_poll(poll, decode(raw, Mail)))
            except (PeerGoneError, PeerUnavailableError):
                await asyncio.sleep(self._brain.poll_failed() / 1000)
            except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for results
                surprised_s = clock() if surprised_s is None else surprised_s
                await self._handle_surprise(error, clock() - surprised_s)
            else:
                surprised_s = None

    async def _handle_surprise(self, error: Exception, lasts_s: float) -> None:
        """Poll again in a while; when nothing else has come for as long as a call is repeated, nothing will."""
        log.error("mail from the dispatcher cannot be handled", exc_info=error)
        again_after_ms = self._brain.call_failed(lasts_s * 1000)
        if again_after_ms is None:
            what = f"the scheduler's answers cannot be handled ({type(error).__name__}: {error})"
            refusal = Refusal(code=Code.INVALID_MESSAGE, message=f"{what}; is it of another version?")
            self._perform(self._brain.lose(refusal))
            return
        await asyncio.sleep(again_after_ms / 1000)


def _one_answer(items: list[SendMessage], refusal: Refusal) -> list[Answer | None]:
    no = Refused(refusal=refusal)
    return [no if isinstance(item.message, Submit | Cancel) else None for item in items]
