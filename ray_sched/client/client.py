"""The client: submits jobs, brings their audio to the nodes, and gives results back.

It owns the audio until the result is there, so a job whose node dies can be sent again. Everything runs in the event
loop that entered it; ``BlockingClient`` is its twin for ordinary code.
"""

import asyncio
import functools
import itertools
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Literal, Self, assert_never

import msgspec

from ray_sched.client.audio import AudioSource
from ray_sched.client.connection import NO_ANSWER, Connection
from ray_sched.client.durations import milliseconds
from ray_sched.client.push import LedgerKey, PendingPush, Pusher
from ray_sched.client.results import JobHandle, Missing, Result, refused, result_of
from ray_sched.client.sources import Source
from ray_sched.client.streams import SessionStream, windowed
from ray_sched.core.capability import ASR, MT, TTS, Language
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.client_agent import TakeSpeech
from ray_sched.core.messages.client_dispatcher import (
    Accepted,
    Answer,
    Assigned,
    Cancel,
    ClientEvent,
    Delivered,
    JobSpec,
    MissingResult,
    PartialText,
    Refused,
    SpeechLost,
    SpeechReady,
    SpeechTaken,
    Submit,
)
from ray_sched.core.rules import INLINE_BYTES
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import OutboxClosedError
from ray_sched.wire.peers import Directory, ObjectStore, PeerGoneError, PeerUnavailableError

_SPEECH_TIMEOUT_S = 10.0
_MIN_WINDOW = 4
_MAX_WINDOW = 1_000
_SLOTS_AHEAD = 2
_BULK_WAIT_S = 600.0
_AGAIN_AFTER_S = 0.5
_CLOSED = Refused(refusal=Refusal(code=Code.CANCELLED, message="this client is closed"))
_AWAY = frozenset({Code.SCHEDULER_DEPENDENCY_DOWN, Code.SCHEDULER_NOT_RUNNING})


class _Sent:
    """A job on its way: its handle, its audio and the speech that was fetched."""

    def __init__(self, handle: JobHandle, source: Source) -> None:
        self.handle = handle
        self.source = source
        self.speech = b""


class Client:
    """``async with Client(...) as client: result = await client.submit(audio, src="en", tgt="es")``.

    Guarantees: every submitted job gets exactly one result; results of a session come in the order in which it was
    spoken; a repeated ``request_id`` is the same job. A client id is a secret: whoever has it is this client.
    """

    def __init__(
        self,
        directory: Directory,
        object_store: ObjectStore,
        *,
        client_id: str | None = None,
        tenant: str = "",
        push_timeout_s: float = 2.0,
        inline_bytes: int = INLINE_BYTES,
        retry_for_s: float = 10.0,
        max_duration_s: float = 600.0,
    ) -> None:
        self.client_id = client_id or secrets.token_hex(16)
        self._request_ids = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._directory = directory
        self._tenant = tenant
        self._max_duration_s = max_duration_s
        self.ledger: Ledger[LedgerKey] = Ledger()
        """This client's audio: HELD between pushes; during one, a copy is STORED."""
        self._connection = Connection(
            self.client_id, time.time_ns() // 1000, directory, self._handle, self._ledger_bytes, retry_for_s
        )
        self._pusher = Pusher(directory, object_store, self.ledger, self._connection.send, push_timeout_s, inline_bytes)
        self._jobs: dict[str, _Sent] = {}
        self._unanswered: dict[str, _Sent] = {}
        self._early: dict[str, list[ClientEvent]] = {}
        self._sessions: dict[str, SessionStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._connection.start(self._fail_all, self._submit_again)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what has not ended, and say good-bye."""
        for sent in list(self._jobs.values()):
            self._connection.send(Cancel(job_id=sent.handle.job_id))
        self._fail_all(SchedError(Code.CANCELLED, "the client was closed before the result came"))
        await self._pusher.close()
        await self._connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- submitting ------------------------------------------------------------------------------------------------

    def submit(  # noqa: PLR0913  # one keyword per thing a user may say of a job
        self,
        audio: AudioSource,
        *,
        src: str,
        tgt: str | None = None,
        session: str = "",
        utterance_index: int | None = None,
        request_id: str = "",
        priority: int = 0,
        deadline_s: float | None = None,
        speech: bool = False,
        partials: bool = False,
        needs_gpu: bool = False,
        sample_rate_hz: int | None = None,
        name: str = "",
        trace_id: str = "",
    ) -> JobHandle:
        """Submit one utterance; awaiting the handle gives its Result or raises SchedError.

        ``audio``: bytes, a numpy array of shape (samples,) or (samples, channels), a path, an open file, or a
        callable that gives one of these; paths and callables are read when a node is ready. ``tgt`` other than
        ``src`` asks for translation, ``speech`` for synthesis of the target. ``deadline_s``: seconds within which a
        node must have taken it. Raises SchedError INVALID_AUDIO or INVALID_LANGUAGE at once for what cannot be right.
        """
        source = Source(audio, sample_rate_hz, self._max_duration_s)
        spec = JobSpec(
            request_id=request_id or f"{self._request_ids}-{next(self._numbers)}",
            src=_language(src),
            tgt=_language(tgt or src),
            services=_services(src, tgt or src, speech=speech),
            session=session,
            utterance_index=utterance_index,
            audio_ms=source.duration_ms,
            priority=priority,
            deadline_ms=None if deadline_s is None else max(milliseconds(deadline_s, "a deadline"), 1),
            tenant=self._tenant,
            needs_gpu=needs_gpu,
            wants_partials=partials,
            name=name or _name_of(audio),
            trace_id=trace_id,
        )
        _check(spec)
        handle = JobHandle(spec, self._cancel)
        sent = _Sent(handle, source)
        self._unanswered[spec.request_id] = sent
        state = AudioState.HELD if source.held_bytes else AudioState.DECLARED
        self.ledger.open(("source", id(sent)), state, source.held_bytes)
        if self._connection.fatal:
            self._finish(sent, refused(spec, _refusal(self._connection.fatal)))
        elif request_id:
            self._begin(self._submit_with_digest(sent))
        else:
            self._ask(sent)
        return handle

    def submit_many(self, audios: Iterable[AudioSource], **options: Any) -> list[JobHandle]:
        """Submit several utterances with the same options; they go to the Dispatcher in one call."""
        return [self.submit(audio, **options) for audio in audios]

    async def _submit_with_digest(self, sent: _Sent) -> None:
        """The caller may say the same request id again: the digest tells whether it is the same utterance."""
        try:
            digest = await sent.source.digest()
        except SchedError as error:
            self._take_answer(sent, Refused(refusal=_refusal(error)))
        else:
            sent.handle.spec = msgspec.structs.replace(sent.handle.spec, digest=digest)
            self._ask(sent)

    def _ask(self, sent: _Sent) -> None:
        """Ask the Dispatcher to take the job. No task for each: thousands may be submitted at once."""
        try:
            answering = self._connection.ask(Submit(spec=sent.handle.spec))
        except OutboxClosedError:
            self._take_answer(sent, _CLOSED)
        else:
            answering.add_done_callback(lambda answered: self._handle_answer(sent, answered))

    def _handle_answer(self, sent: _Sent, answered: "asyncio.Future[Answer | None]") -> None:
        """A job that the Dispatcher had taken is not given up because it cannot be asked just now."""
        try:
            answer = answered.result() or NO_ANSWER
        except OutboxClosedError:
            answer = _CLOSED
        except SchedError as error:
            answer = Refused(refusal=_refusal(error))
        is_away = isinstance(answer, Refused) and answer.refusal.code in _AWAY
        if is_away and sent.handle.job_id and not self._connection.fatal:
            asyncio.get_running_loop().call_later(_AGAIN_AFTER_S, self._ask, sent)
        else:
            self._take_answer(sent, answer)

    def _take_answer(self, sent: _Sent, answer: Answer) -> None:
        self._unanswered.pop(sent.handle.spec.request_id, None)
        match answer:
            case Refused():
                self._finish(sent, refused(sent.handle.spec, answer.refusal))
            case Accepted():
                self._take_accepted(sent, answer)
            case _:
                assert_never(answer)
        if self._early:
            self._handle_early(sent.handle.job_id)

    def _handle_early(self, job_id: str) -> None:
        """What came before the answer that tells whose it is; once all are answered, the rest is nobody's."""
        early = self._early.pop(job_id, [])
        if not self._unanswered:
            early += [event for events in self._early.values() for event in events]
            self._early.clear()
        for event in early:
            self._handle(event)

    def _submit_again(self) -> None:
        """The Dispatcher does not know this client any more: say again what is still waited for.

        Submits are idempotent: a job it does know comes back as it is, with its result if it has ended.
        """
        again = list(self._jobs.values())
        self._jobs.clear()
        for sent in again:
            place = {"utterance_index": sent.handle.utterance_index}
            sent.handle.spec = msgspec.structs.replace(sent.handle.spec, **place)
            self._unanswered[sent.handle.spec.request_id] = sent
            self._ask(sent)

    def _take_accepted(self, sent: _Sent, answer: Accepted) -> None:
        same = self._jobs.get(answer.job_id)
        sent.handle.take_accepted(answer.job_id, answer.utterance_index, is_duplicate=answer.is_duplicate)
        if same:
            self._begin(self._follow(sent, same.handle))
        else:
            self._jobs[answer.job_id] = sent

    async def _follow(self, sent: _Sent, first: JobHandle) -> None:
        """A request id submitted twice while its job is under way: both handles get the one result."""
        self._finish(sent, await first.result())

    async def _cancel(self, handle: JobHandle) -> None:
        job_id = await handle.accepted()
        answer = await self._connection.ask(Cancel(job_id=job_id)) or NO_ANSWER
        if isinstance(answer, Refused) and not handle.is_done:
            raise SchedError.of(answer.refusal)

    # --- results ---------------------------------------------------------------------------------------------------

    async def as_completed(self, handles: Iterable[JobHandle]) -> AsyncIterator[Result]:
        """The results of these jobs, each as soon as it is there, failed ones too."""
        waiting = {asyncio.ensure_future(handle.result()) for handle in handles}
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in waiting:
                task.cancel()

    def session(self, name: str) -> SessionStream:
        """The results of a session in the order in which it was spoken, and its gaps, as they are delivered.

        Ask for it before the first result can come: only what is delivered from then on is in it.
        """
        if name not in self._sessions:
            self._sessions[name] = SessionStream(name, self._sessions.pop)
        return self._sessions[name]

    async def map(
        self,
        audios: Iterable[AudioSource] | AsyncIterable[AudioSource],
        *,
        order: Literal["completion", "input"] = "completion",
        window: int | None = None,
        wait_s: float = _BULK_WAIT_S,
        **options: Any,
    ) -> AsyncGenerator[Result, None]:
        """Submit any number of utterances, a window of them at a time, and yield every result, failed ones too.

        The window follows the cluster's slots unless given, so memory holds what is in flight and nothing is
        refused for overload. Audio that cannot be read is a failed result. ``wait_s``: how long one job may wait.
        """
        deadline_s = options.pop("deadline_s", wait_s)

        async def run(audio: AudioSource) -> Result:
            return await self._submit_with_retries(audio, deadline_s=deadline_s, **options)

        async for result in windowed(audios, run, lambda: window or self._window(), order):
            yield result

    def _window(self) -> int:
        """Twice the cluster's slots: one job on each slot and one on its way to it."""
        return min(max(_SLOTS_AHEAD * self._connection.slots, _MIN_WINDOW), _MAX_WINDOW)

    async def _submit_with_retries(self, audio: AudioSource, **options: Any) -> Result:
        """One job of a ``map``: an overloaded scheduler is asked again when it said so."""
        while True:
            try:
                result = await self.submit(audio, **options).result()
            except SchedError as error:
                name = options.get("name") or _name_of(audio)
                pair = f"{options.get('src')}:{options.get('tgt') or options.get('src')}"
                return Result(job_id="", name=name, status="refused", pair=pair, error=_refusal(error))
            if result.error is None or result.error.code is not Code.OVERLOADED:
                return result
            await asyncio.sleep(result.error.retry_after_ms / 1000)

    # --- events ----------------------------------------------------------------------------------------------------

    def _handle(self, event: ClientEvent) -> None:
        match event:
            case MissingResult():
                stream = self._sessions.get(event.session)
                if stream:
                    missing = Missing(
                        session=event.session,
                        first_index=event.first_index,
                        last_index=event.last_index,
                        why=event.why,
                    )
                    stream.put(missing)
                return
            case Assigned() | PartialText() | SpeechReady() | Delivered():
                sent = self._jobs.get(event.job_id)
            case _:
                assert_never(event)
        if sent:
            self._handle_job_event(sent, event)
        elif self._unanswered:
            self._early.setdefault(event.job_id, []).append(event)
        elif isinstance(event, Assigned):
            self._connection.send(Cancel(job_id=event.job_id))

    def _handle_job_event(self, sent: _Sent, event: Assigned | PartialText | SpeechReady | Delivered) -> None:
        match event:
            case Assigned():
                self._pusher.push(PendingPush(event, sent.handle.spec, sent.source))
            case PartialText():
                sent.handle.take_partial(event.text)
            case SpeechReady():
                self._begin(self._fetch_speech(sent, event))
            case Delivered():
                del self._jobs[event.job_id]
                self._finish(sent, result_of(event, sent.handle.spec, sent.speech))
            case _:
                assert_never(event)

    async def _fetch_speech(self, sent: _Sent, event: SpeechReady) -> None:
        wanted = TakeSpeech(job_id=event.job_id, attempt=event.attempt, token=event.token)
        try:
            peer = self._directory.peer(event.agent)
            sent.speech = await peer.call("take_speech", encode(wanted), timeout_s=_SPEECH_TIMEOUT_S)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            why = str(error)[:1000]
            self._connection.send(SpeechLost(job_id=event.job_id, attempt=event.attempt, why=why))
        else:
            self._connection.send(SpeechTaken(job_id=event.job_id, attempt=event.attempt))

    def _finish(self, sent: _Sent, result: Result) -> None:
        """The job has ended: its audio is let go."""
        if not sent.handle.take_result(result):
            return
        self.ledger.move(("source", id(sent)), AudioState.RELEASED)
        stream = self._sessions.get(result.session) if result.session and result.job_id else None
        if stream:
            stream.put(result)

    def _fail_all(self, error: SchedError) -> None:
        """Nothing more will come: every job that has no result gets this error."""
        for sent in [*self._jobs.values(), *self._unanswered.values()]:
            self._finish(sent, refused(sent.handle.spec, _refusal(error)))
        self._jobs.clear()
        for stream in list(self._sessions.values()):
            stream.end()

    def _ledger_bytes(self) -> tuple[int, int]:
        return self.ledger.bytes_in(AudioState.HELD), self.ledger.bytes_in(AudioState.STORED)

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _language(tag: str) -> str:
    try:
        return _checked_language(tag)
    except (msgspec.ValidationError, TypeError):  # TypeError: something that cannot even be remembered
        raise SchedError(Code.INVALID_LANGUAGE, f"{tag!r} is not a language tag; write it as en, es or pt-BR") from None


@functools.lru_cache(1_024)
def _checked_language(tag: str) -> str:
    return msgspec.convert(tag, Language)


@functools.lru_cache(1_024)
def _services(src: str, tgt: str, *, speech: bool) -> tuple[str, ...]:
    wanted = [ASR, *([MT] if src != tgt else []), *([TTS] if speech else [])]
    return tuple(sorted(wanted))


def _check(spec: JobSpec) -> None:
    """Refuse here what the Dispatcher would refuse to decode: one bad job must not take its batch with it."""
    try:
        msgspec.msgpack.decode(encode(spec), type=JobSpec)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError) as error:
        # encoding raises the others: an integer of more than 64 bits, half a character, no text at all
        raise SchedError(Code.INVALID_MESSAGE, f"the job's description is not valid: {error}") from None


def _name_of(audio: AudioSource) -> str:
    """What people call it: the end of its path, of which a file system may have made bytes that are no text."""
    name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else ""
    return os.fsdecode(name)[-256:].encode(errors="replace").decode()


def _refusal(error: SchedError) -> Refusal:
    return Refusal(code=error.code, message=error.message, retry_after_ms=error.retry_after_ms)
