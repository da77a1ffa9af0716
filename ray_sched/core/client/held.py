"""Events that came before the answer that tells whose they are.

A poll may bring what a job's answer, on its way or lost, has not announced yet. Such an event waits until everything
that had been asked when it came is answered; if no job is meant then, it is nobody's. What its session delivers after
it waits, too, so that results stay in their order; everything else goes on.
"""

from collections.abc import Callable, Sequence

from ray_sched.core.messages.client_dispatcher import ClientEvent, Delivered, MissingResult


class HeldEvents:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._held: list[tuple[ClientEvent, int]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(
        self, events: Sequence[ClientEvent], last_asked: int, may_handle: Callable[[ClientEvent, int], bool]
    ) -> list[ClientEvent]:
        """These have come: of them and of those held, the ones that may be handled now, in order.

        ``last_asked``: the newest question to the Dispatcher. ``may_handle(event, last_asked)``: whether it is known
        whose the event is, or that it is nobody's, given the newest question at the time when it came.
        """
        came = [*self._held, *((event, last_asked) for event in events)]
        self._held = []
        ready: list[ClientEvent] = []
        sessions: set[str] = set()
        for event, asked in came:
            session = event.session if isinstance(event, Delivered | MissingResult) else ""
            if session in sessions or not may_handle(event, asked):
                self._held.append((event, asked))
                if session:
                    sessions.add(session)
            else:
                ready.append(event)
        return ready
