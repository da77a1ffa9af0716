"""Sends an agent's reports to the Dispatcher when they are due, and wakes its brain when time is up.

Which reports there are, when they leave, and that they are repeated until they were acknowledged is the brain's.
"""

import asyncio
import logging
from collections.abc import Callable

from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import AgentEffect
from ray_sched.core.messages.agent_dispatcher import AgentBatch
from ray_sched.wire.codec import encode
from ray_sched.wire.peers import Peer, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0


def now_ms() -> int:
    """The running loop's clock, in milliseconds."""
    return round(asyncio.get_running_loop().time() * 1000)


class Reporter:
    """One call to the Dispatcher at a time. Call :meth:`schedule` after each fact handed to the brain."""

    def __init__(self, brain: AgentBrain, dispatcher: Peer, perform: Callable[[list[AgentEffect]], None]) -> None:
        """``perform`` carries out what the brain asks for when time is up."""
        self._brain = brain
        self._dispatcher = dispatcher
        self._perform = perform
        self._sending: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at_ms = 0
        self._is_closed = False

    def schedule(self) -> None:
        """Send what is due, or come back when something is."""
        due_at_ms = None if self._sending or self._is_closed else self._brain.next_due_ms()
        if due_at_ms is None:
            return
        wait_ms = due_at_ms - now_ms()
        if wait_ms <= 0:
            self._sending = asyncio.create_task(self._send_all())
        elif self._alarm is None or self._alarm_at_ms > due_at_ms:
            self._set_alarm(due_at_ms, wait_ms)

    def _set_alarm(self, at_ms: int, wait_ms: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at_ms = at_ms
        self._alarm = asyncio.get_running_loop().call_later(wait_ms / 1000, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self.schedule()

    async def _send_all(self) -> None:
        self._perform(self._brain.tick(now_ms()))
        try:
            while batch := self._brain.take_batch(now_ms()):
                await self._send(batch)
        finally:
            self._sending = None
            self.schedule()

    async def _send(self, batch: AgentBatch) -> None:
        try:
            await self._dispatcher.call("agent", encode(batch), timeout_s=_CALL_TIMEOUT_S)
        except (PeerGoneError, PeerUnavailableError):
            self._brain.batch_failed(now_ms())
            return
        except Exception as error:  # noqa: BLE001  # the next batch must not be lost with this one
            log.error("%d reports to the dispatcher failed: %s", len(batch.messages), error)  # noqa: TRY400  # the error is one sentence
        self._brain.batch_sent(now_ms())

    async def close(self) -> None:
        """Send nothing more; a call on its way is given up."""
        self._is_closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
