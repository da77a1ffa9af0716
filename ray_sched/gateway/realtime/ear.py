"""What of a session was heard by the voice detector: samples go in as they come, verdicts come out behind them."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np

from ray_sched.core.errors import SchedError
from ray_sched.core.turns.events import WindowsJudged
from ray_sched.core.turns.rules import WINDOW_SAMPLES
from ray_sched.gateway.realtime.voices import Voices
from ray_sched.wire.samples import Samples

log = logging.getLogger(__name__)


class Ear:
    """Of one session."""

    def __init__(self, voices: Voices, report: Callable[[WindowsJudged], None], give_up: Callable[[], None]) -> None:
        """``give_up`` is called when no verdict will come. Raises SchedError MISSING_PART without a detector."""
        self._voices = voices
        self._session = voices.open()
        self._report = report
        self._give_up = give_up
        self._waiting: list[Samples] = []
        self._n_waiting = 0
        self._judged = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def n_waiting(self) -> int:
        """Samples that wait for their verdict."""
        return self._n_waiting

    def add(self, samples: Samples) -> None:
        """The session goes on with this."""
        self._waiting.append(samples)
        self._n_waiting += len(samples)
        if self._n_waiting >= WINDOW_SAMPLES and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._judge())

    def close(self) -> None:
        """The session has ended."""
        if self._task:
            self._task.cancel()
        self._voices.close_session(self._session)

    async def _judge(self) -> None:
        while self._n_waiting >= WINDOW_SAMPLES:
            waiting = np.concatenate(self._waiting)
            whole = len(waiting) // WINDOW_SAMPLES * WINDOW_SAMPLES
            self._waiting = [waiting[whole:]]
            try:
                probabilities = await self._voices.probabilities(self._session, waiting[:whole])
            except SchedError as error:
                log.error("a session is heard no more: %s", error)  # noqa: TRY400  # the sentence says it
                self._give_up()
                return
            self._n_waiting -= whole
            first, self._judged = self._judged, self._judged + whole
            self._report(WindowsJudged(first, tuple(probabilities)))
