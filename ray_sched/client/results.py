"""What a submitter gets: results, gaps, and the handle of a job on its way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Self

from msgspec import Struct

from ray_sched.audio.report import AudioReport
from ray_sched.core.capability import AUTO
from ray_sched.core.errors import Refusal, SchedError
from ray_sched.core.messages.client_dispatcher import AttemptNote, Delivered, JobSpec, MissingResult
from ray_sched.core.messages.recognition import NOTHING_MORE, Segment, Word


class Result(Struct, frozen=True, kw_only=True):
    """How a job ended. ``error`` is None for a completed one."""

    job_id: str
    name: str
    status: str
    """``completed``, ``completed_no_text``, ``failed``, ``cancelled``; ``refused`` for a job never taken."""
    pair: str
    text: str = ""
    translation: str = ""
    speech: bytes = b""
    """Signed 16-bit mono samples."""
    speech_rate_hz: int = 0
    session: str = ""
    utterance_index: int | None = None
    is_late: bool = False
    """A gap with this utterance was announced before the result came."""
    node: str = ""
    attempt: int = 0
    audio_ms: int = 0
    audio_is_whole: bool = True
    """False when a part of the audio is known or suspected to be missing; the notes say why."""
    audio_notes: tuple[str, ...] = ()
    """What was repaired in the audio, and what is doubtful, a sentence each."""
    wait_ms: int = 0
    """From submission until a node had the audio."""
    run_ms: int = 0
    attempts: tuple[AttemptNote, ...] = ()
    language: str = ""
    """What was spoken: what the engine has found, or the tag that has served a regional one, or what was asked for."""
    language_confidence: float | None = None
    """From 0 to 1; None if the language was not looked for."""
    segments: tuple[Segment, ...] = ()
    """Parts of the text with their times, as far as the engine knows them."""
    words: tuple[Word, ...] = ()
    """Words with their times, if they were asked for and the engine knows them."""
    model: str = ""
    """The name of the model that has recognised, as the engine says it."""
    position: int | None = None
    """Of a ``map``: which of its audios this is the result of, from 0."""
    error: Refusal | None = None

    def raise_for_error(self) -> "Result":
        """The result itself, or its error as a SchedError."""
        if self.error:
            raise SchedError.of(self.error)
        return self


class Missing(Struct, frozen=True, kw_only=True):
    """The session goes on without these utterances; they may still come, marked late."""

    session: str
    first_index: int
    last_index: int
    """Inclusive."""
    why: str


def missing_of(gap: MissingResult) -> Missing:
    """The submitter's view of a gap."""
    return Missing(session=gap.session, first_index=gap.first_index, last_index=gap.last_index, why=gap.why)


def result_of(delivered: Delivered, spec: JobSpec, speech: bytes, heard: AudioReport | None) -> Result:
    """The submitter's view of a delivered outcome. ``heard``: what its decoder has said of the audio, if it had one."""
    outcome = delivered.outcome
    more = outcome.recognition or NOTHING_MORE
    return Result(
        job_id=delivered.job_id,
        name=spec.name,
        status=outcome.status,
        pair=f"{spec.src}:{spec.tgt}",
        text=outcome.text,
        translation=outcome.translation,
        speech=speech,
        speech_rate_hz=outcome.speech_rate_hz,
        session=delivered.session,
        utterance_index=delivered.utterance_index,
        is_late=delivered.is_late,
        node=outcome.node,
        attempt=outcome.attempt,
        audio_ms=outcome.audio_ms,
        audio_is_whole=heard is None or heard.whole,
        audio_notes=heard.notes if heard else (),
        wait_ms=outcome.wait_ms,
        run_ms=outcome.run_ms,
        attempts=outcome.attempts,
        language=more.language or ("" if spec.src == AUTO or outcome.error else spec.src),
        language_confidence=more.language_confidence,
        segments=more.segments,
        words=more.words,
        model=more.model,
        error=outcome.error,
    )


def refused(spec: JobSpec, refusal: Refusal) -> Result:
    """The result of a job that was never taken."""
    return Result(
        job_id="",
        name=spec.name,
        status="refused",
        pair=f"{spec.src}:{spec.tgt}",
        session=spec.session,
        utterance_index=spec.utterance_index,
        error=refusal,
    )


_END = object()


class JobHandle:
    """A submitted job. ``await handle`` gives its Result or raises its error as SchedError."""

    def __init__(
        self, spec: JobSpec, cancel: Callable[["JobHandle"], Awaitable[None]], abandon: Callable[[], None]
    ) -> None:
        """``abandon`` is called when nobody waits for the result any more."""
        self.spec = spec
        self.job_id = ""
        """Known once the Dispatcher has taken the job; see ``accepted``."""
        self.is_duplicate = False
        self.utterance_index = spec.utterance_index
        self._cancel = cancel
        self._abandon = abandon
        self._n_waiting = 0
        self._is_detached = False
        self._is_settled = False
        self._accepted: asyncio.Event | None = None
        self._result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._partials: asyncio.Queue[Any] | None = asyncio.Queue() if spec.wants_partials else None

    def __await__(self) -> Generator[Any, None, Result]:
        return self._raise().__await__()

    async def _raise(self) -> Result:
        return (await self.result()).raise_for_error()

    async def result(self) -> Result:
        """The result, whatever became of the job.

        When the last of those who wait for it is cancelled, as by a time-out, so is the job, unless it is detached.
        """
        self._n_waiting += 1
        try:
            return await asyncio.shield(self._result)
        except asyncio.CancelledError:
            if self._n_waiting == 1 and not self._is_detached and not self.is_done:
                self._abandon()
            raise
        finally:
            self._n_waiting -= 1

    def detach(self) -> Self:
        """Let the job go on whoever gives up waiting for its result. Returns this handle."""
        self._is_detached = True
        return self

    async def accepted(self) -> str:
        """The job's id, once the Dispatcher has taken it. Raises SchedError if it was refused."""
        if not self._is_settled:
            self._accepted = self._accepted or asyncio.Event()
            await self._accepted.wait()
        if not self.job_id:
            (await self.result()).raise_for_error()
        return self.job_id

    async def cancel(self) -> None:
        """Ask for the job to be cancelled; its result then says so, unless it ended before."""
        await self._cancel(self)

    async def partials(self) -> AsyncIterator[str]:
        """What the node has recognised so far, until the job ends. Needs ``partials=True`` at submission."""
        if self._partials is None:
            await self.result()
            return
        while (text := await self._partials.get()) is not _END:
            yield text

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._result.done()

    # --- called by the client --------------------------------------------------------------------------------------

    def record_accepted(self, job_id: str, index: int | None, *, is_duplicate: bool) -> None:
        """The Dispatcher has taken the job."""
        self.job_id, self.utterance_index, self.is_duplicate = job_id, index, is_duplicate
        self._settle()

    def record_partial(self, text: str) -> None:
        """The node has recognised this so far."""
        if self._partials is not None:
            self._partials.put_nowait(text)

    def record_result(self, result: Result) -> bool:
        """The job has ended with this result. False, nothing changed, if it has one already."""
        if self._result.done():
            return False
        self._result.set_result(result)
        self._settle()
        if self._partials is not None:
            self._partials.put_nowait(_END)
        return True

    def _settle(self) -> None:
        """The Dispatcher has taken the job or refused it: ``accepted`` waits no longer."""
        self._is_settled = True
        if self._accepted is not None:
            self._accepted.set()
