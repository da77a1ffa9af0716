"""What a client is told: numbered, in order, and kept for a while, so that who comes back hears once what it missed."""

import asyncio
import json
from collections import deque
from typing import Any, NamedTuple

_KEPT_BYTES = 256 * 2**10
_KEPT_EVENTS = 512
_PREFIX = "event_"


class Sent(NamedTuple):
    """One event."""

    number: int
    text: str


class Outbox:
    """The events of one session."""

    def __init__(self) -> None:
        self._events: deque[Sent] = deque()
        """Those that were sent, as far as they are kept, then those that were not."""
        self._n_bytes = 0
        self._last = 0
        self._sent_to = 0
        """The last number that was written to a socket."""
        self._unsent_bytes = 0
        self._has_more = asyncio.Event()
        self._first: deque[str] = deque()
        """What goes before all that waits, is not numbered, and is not kept."""
        self.is_ended = False
        """Nothing will be added."""

    @property
    def unsent_bytes(self) -> int:
        """Of events that wait for a reader."""
        return self._unsent_bytes

    def put(self, event: dict[str, Any]) -> None:
        """Tell the client this, after all before it."""
        self._last += 1
        text = json.dumps({"event_id": f"{_PREFIX}{self._last}", **event}, ensure_ascii=False, separators=(",", ":"))
        self._events.append(Sent(self._last, text))
        self._n_bytes += len(text)
        self._unsent_bytes += len(text)
        self._has_more.set()

    def put_first(self, event: dict[str, Any]) -> None:
        """Tell the client this before what waits for it."""
        self._first.append(json.dumps({"event_id": f"{_PREFIX}{self._sent_to}", **event}, ensure_ascii=False))
        self._has_more.set()

    def end(self) -> None:
        """What is there is all."""
        self.is_ended = True
        self._has_more.set()

    async def next(self) -> Sent | None:
        """The next event that was not sent; None at the end of all."""
        if self._first:
            return Sent(self._sent_to, self._first.popleft())
        while self._sent_to == self._last:
            if self.is_ended:
                return None
            self._has_more.clear()
            await self._has_more.wait()
        return self._events[self._sent_to - self._last]  # from the end, which is the last one

    def record_sent(self, event: Sent) -> None:
        """It was written to the socket, which does not mean that anybody has read it."""
        if event.number == self._sent_to:
            return
        self._sent_to = event.number
        self._unsent_bytes -= len(event.text)
        while self._events and self._events[0].number <= self._sent_to and self._is_too_much():
            self._n_bytes -= len(self._events.popleft().text)

    def rewind(self, last_event_id: str) -> None:
        """The client has heard all up to this event: what was sent after it is sent again, as far as it is kept."""
        number = last_event_id.removeprefix(_PREFIX)
        if not (number.isascii() and number.isdigit()) or len(number) > 18:  # noqa: PLR2004  # digits of 2**63
            return
        first_kept = self._events[0].number if self._events else self._last + 1
        self._sent_to = max(min(int(number), self._sent_to), first_kept - 1)
        self._unsent_bytes = sum(len(event.text) for event in self._events if event.number > self._sent_to)

    def _is_too_much(self) -> bool:
        return self._n_bytes - self._unsent_bytes > _KEPT_BYTES or len(self._events) > _KEPT_EVENTS
