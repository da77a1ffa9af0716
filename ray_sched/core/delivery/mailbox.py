"""Mailboxes: events for clients, kept until acknowledged.

The Dispatcher's shell puts an event in only after the step that it comes from is saved. A client is handed out mail
with every answer; after a failed call it asks for a resync and is handed out again what it had not acknowledged.
"""

import itertools
from collections import deque

from ray_sched.core.messages.client_dispatcher import ClientEvent, PartialText
from ray_sched.core.messages.fields import MAX_BATCH


class Mailbox:
    """One client's events, numbered from 1 without holes."""

    def __init__(self) -> None:
        self._events: deque[ClientEvent] = deque()
        self.last_put = 0
        self._last_handed_out = 0

    def put(self, event: ClientEvent) -> None:
        """Add an event. A partial text not yet handed out is replaced by a newer one of its job."""
        newest = self._events[-1] if self.has_mail else None
        if isinstance(event, PartialText) and isinstance(newest, PartialText) and newest.job_id == event.job_id:
            self._events[-1] = event
            return
        self._events.append(event)
        self.last_put += 1

    @property
    def has_mail(self) -> bool:
        """Whether there is something that was not handed out yet."""
        return self.last_put > self._last_handed_out

    def acknowledge(self, last: int) -> None:
        """Forget events up to this number. A number never handed out changes nothing."""
        if last > self._last_handed_out:
            return
        while self._events and self.last_put - len(self._events) < last:
            self._events.popleft()

    def resync(self) -> None:
        """Hand out again, next time, all that was not acknowledged."""
        self._last_handed_out = self.last_put - len(self._events)

    def take(self) -> tuple[int, tuple[ClientEvent, ...]]:
        """The next events not handed out yet, up to MAX_BATCH, and the number of the last one."""
        begin = self._last_handed_out - (self.last_put - len(self._events))
        events = tuple(itertools.islice(self._events, begin, begin + MAX_BATCH))
        self._last_handed_out += len(events)
        return self._last_handed_out, events

    def __len__(self) -> int:
        return len(self._events)
