"""Events that came before the answer that names their job.

A poll may bring events of a job whose Accepted is still on its way, or was lost. Such an event is held until the
Dispatcher has answered every question that was open when the event came; if no submission has that job then, the event
is for none of this client. What the same session delivers meanwhile is held behind it, so that results stay in order;
all other events pass.
"""

from collections.abc import Callable, Iterator, Sequence

from ray_sched.core.client.effects import ClientEffect, DiscardResult, SendMessage
from ray_sched.core.messages.client_dispatcher import (
    Assigned,
    Cancel,
    ClientEvent,
    Delivered,
    MissingResult,
    PartialText,
    SpeechReady,
)


class HeldEvents:
    """The events that are held, in the order in which they came."""

    def __init__(self) -> None:
        self._held: list[tuple[ClientEvent, int]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(
        self, events: Sequence[ClientEvent], last_asked: int, may_handle: Callable[[ClientEvent, int], bool]
    ) -> Iterator[ClientEvent]:
        """Add events that have come. Gives those that may be handled now, earlier held ones first.

        Each is to be handled before the next is asked for: it may be the last one that its submission waits for.

        ``last_asked``: number of the newest question to the Dispatcher, see ``Submission.asked``.
        ``may_handle(event, last_asked)``: whether an event that came after that question need not be held.
        """
        came = [*self._held, *((event, last_asked) for event in events)]
        self._held = []
        sessions: set[str] = set()
        for event, asked in came:
            session = event.session if isinstance(event, Delivered | MissingResult) else ""
            if session in sessions or not may_handle(event, asked):
                self._held.append((event, asked))
                if session:
                    sessions.add(session)
            else:
                yield event


def unclaimed(event: Assigned | PartialText | SpeechReady | Delivered) -> list[ClientEffect]:
    """An event of a job that no submission waits for: one that was refused in the end, or given up."""
    if isinstance(event, Assigned):
        return [SendMessage(Cancel(job_id=event.job_id))]
    return [DiscardResult(event)] if isinstance(event, Delivered) else []
