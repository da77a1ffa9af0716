"""What an agent has still to report to the Dispatcher: in order, in batches, each until it was acknowledged.

One batch is on its way at a time. Each report has to leave within so many milliseconds; whatever waits leaves with it.
While a batch is on its way everything collects, and leaves as soon as that batch was acknowledged: an idle node adds no
delay, a busy one batches by itself.
"""

from collections import deque
from itertools import islice
from typing import assert_never

from msgspec import structs

from ray_sched.core.agent.effects import RunCancelled, RunDeclined, RunEnd, RunErred, RunReturned
from ray_sched.core.messages.agent_dispatcher import (
    AgentMessage,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
)
from ray_sched.core.messages.fields import MAX_BATCH, AttemptKey

REPEAT_AFTER_MS = 200
"""How long a batch that was not acknowledged waits before it is sent again."""


class _Report:
    """One report that waits or is on its way. ``since_ms``: since when that is so, which an acceptance carries."""

    __slots__ = ("message", "since_ms")

    def __init__(self, message: AgentMessage, since_ms: int) -> None:
        self.message = message
        self.since_ms = since_ms


class ReportQueue:
    """First in, first out. What is on its way stays at the head until it is acknowledged or fails."""

    def __init__(self) -> None:
        self._reports: deque[_Report] = deque()
        self._n_in_flight = 0
        self._due_at_ms: int | None = None
        self._repeat_at_ms = 0
        self._partials: dict[AttemptKey, _Report] = {}
        """The partial text of each attempt that waits and is not on its way."""

    def __len__(self) -> int:
        """Reports that were not acknowledged yet."""
        return len(self._reports)

    @property
    def due_at_ms(self) -> int | None:
        """When a batch has to leave; None while one is on its way or nothing waits."""
        if self._n_in_flight or self._due_at_ms is None:
            return None
        return max(self._due_at_ms, self._repeat_at_ms)

    def put(self, message: AgentMessage, now_ms: int, *, within_ms: int = 0, since_ms: int | None = None) -> None:
        """Report this, within so many milliseconds. ``since_ms``: when what it reports was so, if before now."""
        self._append(_Report(message, now_ms if since_ms is None else since_ms), now_ms + within_ms)

    def put_partial(self, message: RunPartial, now_ms: int) -> None:
        """Report a partial text at once. It replaces the one that waits: a talkative engine fills no memory."""
        key = (message.job_id, message.attempt)
        waiting = self._partials.get(key)
        if waiting is None:
            self._partials[key] = report = _Report(message, now_ms)
            self._append(report, now_ms)
        else:
            waiting.message = message

    def _append(self, report: _Report, due_at_ms: int) -> None:
        self._reports.append(report)
        if self._due_at_ms is None or due_at_ms < self._due_at_ms:
            self._due_at_ms = due_at_ms

    def take(self, now_ms: int) -> tuple[AgentMessage, ...]:
        """The next batch, if one has to leave; empty otherwise. Follow it with ``acknowledge`` or ``fail``."""
        due_at_ms = self.due_at_ms
        if due_at_ms is None or due_at_ms > now_ms:
            return ()
        batch = list(islice(self._reports, MAX_BATCH))
        self._n_in_flight = len(batch)
        for report in batch:
            if isinstance(report.message, RunPartial):
                self._partials.pop((report.message.job_id, report.message.attempt), None)
        return tuple(_dated(report, now_ms) for report in batch)

    def acknowledge(self, now_ms: int) -> None:
        """The batch has arrived; it is forgotten."""
        for _ in range(self._n_in_flight):
            self._reports.popleft()
        self._n_in_flight = 0
        self._due_at_ms = now_ms if self._reports else None

    def fail(self, now_ms: int) -> None:
        """Nobody knows whether the batch has arrived: it is sent again, with what has come since."""
        for report in list(islice(self._reports, self._n_in_flight)):
            self._wait_again(report)
        self._n_in_flight = 0
        self._due_at_ms = now_ms
        self._repeat_at_ms = now_ms + REPEAT_AFTER_MS

    def _wait_again(self, report: _Report) -> None:
        """A partial text that failed gives its place to a newer one, so that one of each attempt waits."""
        if not isinstance(report.message, RunPartial):
            return
        key = (report.message.job_id, report.message.attempt)
        newer = self._partials.get(key)
        if newer is not None:
            report.message = newer.message
            self._reports.remove(newer)
        self._partials[key] = report


def _dated(report: _Report, now_ms: int) -> AgentMessage:
    message = report.message
    if isinstance(message, RunAccepted) and now_ms > report.since_ms:
        return structs.replace(message, age_ms=now_ms - report.since_ms)
    return message


def end_report(key: AttemptKey, end: RunEnd, run_ms: int) -> AgentMessage:
    """The report to the Dispatcher of the end of a run that took so long."""
    job_id, attempt = key
    match end:
        case RunReturned():
            return RunFinished(
                job_id=job_id,
                attempt=attempt,
                text=end.text,
                translation=end.translation,
                speech_bytes=end.speech_bytes,
                speech_rate_hz=end.speech_rate_hz,
                run_ms=run_ms,
                recognition=end.recognition,
            )
        case RunErred():
            return RunFailed(
                job_id=job_id,
                attempt=attempt,
                code=end.code,
                why=end.why,
                service=end.service,
                was_alone=end.was_alone,
            )
        case RunDeclined():
            return RunRefused(job_id=job_id, attempt=attempt, why=end.why)
        case RunCancelled():
            return RunStopped(job_id=job_id, attempt=attempt)
        case _:
            assert_never(end)
