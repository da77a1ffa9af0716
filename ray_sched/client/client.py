"""The client: submits jobs, brings their audio to the nodes, and gives results back.

It owns the audio until the result is there, so a job whose node dies can be sent again. It decides nothing: its brain
does, and this carries out the effects: futures, streams, tasks. Everything runs in the event loop that entered it;
``BlockingClient`` is its twin for ordinary code.
"""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable, Collection, Coroutine, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, assert_never

from ray_sched.audio.report import Encoding, Limits
from ray_sched.client.audio import AudioSource
from ray_sched.client.bulk import as_completed, run_one, window_of
from ray_sched.client.connection import Connection
from ray_sched.client.durations import milliseconds
from ray_sched.client.fingerprint import fingerprint
from ray_sched.client.job_spec import checked, hints, index, languages, name_of, services
from ray_sched.client.life_signs import LifeSigns
from ray_sched.client.long import Passage, transcribe
from ray_sched.client.options import ClientOptions
from ray_sched.client.push import Pusher, Through
from ray_sched.client.read_ahead import PendingPush
from ray_sched.client.reader import Reader
from ray_sched.client.recordings import RecordingSource
from ray_sched.client.results import JobHandle, Result, missing_of, refused, result_of
from ray_sched.client.sources import NO_AUDIO, Source, how_to_read
from ray_sched.client.streams import SessionStream, windowed
from ray_sched.client.submitted import Submitted
from ray_sched.core.client.brain import NO_ANSWER, ClientBrain
from ray_sched.core.client.effects import (
    Call,
    ClientEffect,
    DiscardResult,
    DropAhead,
    EndSessions,
    FetchSpeech,
    Notice,
    NotifyAccepted,
    NotifyGap,
    NotifyPartial,
    NotifyRefused,
    NotifyResult,
    PushAudio,
    SendMessage,
    SubmitLater,
)
from ray_sched.core.errors import SchedError
from ray_sched.core.ledger import Ledger
from ray_sched.core.messages.client_agent import Fetch
from ray_sched.core.messages.client_dispatcher import JobSpec, MissingResult, Refused
from ray_sched.core.messages.recognition import Option
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import OutboxClosedError
from ray_sched.wire.peers import Directory, ObjectStore, PeerGoneError, PeerUnavailableError, Post

log = logging.getLogger(__name__)

_SPEECH_TIMEOUT_S = 10.0
_BULK_WAIT_S = 600.0


class Client:
    """``async with Client(...) as client: result = await client.submit(audio, src="en", tgt="es")``.

    Guarantees: every submitted job gets exactly one result; results of a session come in the order in which it was
    spoken; a repeated ``request_id`` is the same job. A client id is a secret: whoever has it is this client.
    """

    def __init__(
        self,
        directory: Directory,
        object_store: ObjectStore,
        options: ClientOptions | None = None,
        post: Post | None = None,
    ) -> None:
        """``post``: how the Dispatcher is told that this client lives, while its event loop is blocked."""
        options = options or ClientOptions()
        self.client_id = options.client_id or secrets.token_hex(16)
        self._options = options
        self._request_ids = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._directory = directory
        self._brain = ClientBrain(self.client_id, time.time_ns() // 1000, round(options.retry_for_s * 1000))
        self._connection = Connection(self._brain, directory, self._perform)
        self._pusher = Pusher(self._brain.transfers, directory, object_store, self._perform, options)
        self._reader = Reader(Limits(max_duration_s=options.max_duration_s), options.read_timeout_s)
        self._life_signs = (
            LifeSigns(partial(post, "dispatcher", "alive", encode(self._brain.alive()))) if post else None
        )
        self._submitted: dict[int, Submitted] = {}
        self._sessions: dict[str, SessionStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def ledger(self) -> Ledger[int]:
        """Where this client's audio is, one entry for each submitted job that is not over or still on its way."""
        return self._brain.audio.ledger

    @property
    def through(self) -> Through:
        """Bytes of audio that this client has pushed so far, through the object store and in calls."""
        return self._pusher.through

    async def __aenter__(self) -> Self:
        self._connection.start()
        if self._life_signs:
            self._life_signs.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what has not ended, and stop."""
        if self._life_signs:
            self._life_signs.end()
        self._perform(self._brain.close())
        await self._pusher.close()
        self._reader.close()
        await self._connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- submitting ------------------------------------------------------------------------------------------------

    def submit(  # noqa: PLR0913  # one keyword per thing a user may say of a job
        self,
        audio: AudioSource,
        *,
        src: str | Collection[str],
        tgt: str | None = None,
        session: str = "",
        utterance_index: int | None = None,
        request_id: str = "",
        priority: int = 0,
        deadline_s: float | None = None,
        speech: bool = False,
        partials: bool = False,
        words: bool = False,
        prompt: str = "",
        hotwords: Collection[str] = (),
        temperature: float | None = None,
        options: Mapping[str, Option] | None = None,
        needs_gpu: bool = False,
        sample_rate_hz: int | None = None,
        encoding: Encoding = "s16le",
        allow_partial: bool = False,
        copy: bool = True,
        name: str = "",
        trace_id: str = "",
        text: str = "",
    ) -> JobHandle:
        """Submit one utterance; awaiting the handle gives its Result or raises SchedError.

        ``audio``: see ``client.audio.AudioSource``. Paths and functions are read when a node is ready; an open pipe
        stays open until ``accepted``, an array is left alone if ``copy=False`` says so. ``sample_rate_hz``: of an
        array, and with ``encoding`` of what has no header. ``allow_partial``: less will do. Another ``tgt`` asks for
        translation, ``speech`` for synthesis of it; ``text``: see ``speak``. ``src`` may be ``auto``, or several
        languages of which it is one. The engine leaves out what it cannot use of ``words`` (with times), ``prompt``,
        ``hotwords``, ``temperature``, ``options``. ``deadline_s``: within which a node must have taken it, the next
        one too if that is lost. Raises SchedError INVALID_AUDIO, _LANGUAGE or _MESSAGE for what can be seen at once.
        """
        how = how_to_read(sample_rate_hz, encoding, allow_partial=allow_partial)
        source = Source(audio, how, self._reader, copy=copy)
        number, (source_tag, target_tag, candidates) = next(self._numbers), languages(src, tgt, speech=speech)
        spec = checked(
            JobSpec(
                request_id=request_id or f"{self._request_ids}-{number}",
                src=source_tag,
                tgt=target_tag,
                services=services(source_tag, target_tag, speech=speech, is_text=bool(text)),
                session=session,
                utterance_index=utterance_index,
                audio_ms=source.duration_ms,
                priority=priority,
                deadline_ms=None if deadline_s is None else max(milliseconds(deadline_s, "a deadline"), 1),
                tenant=self._options.tenant,
                needs_gpu=needs_gpu,
                wants_partials=partials,
                trace_id=trace_id,
                name=name or name_of(audio),
                hints=hints(candidates, words, prompt, hotwords, temperature, options, text),
            )
        )
        return self._open(number, spec, source, has_digest=bool(request_id))

    def _open(self, number: int, spec: JobSpec, source: Source, *, has_digest: bool) -> JobHandle:
        handle = JobHandle(spec, self._cancel, lambda: self._perform(self._brain.abandon(number)))
        self._submitted[number] = Submitted(handle, source)
        self._perform(self._brain.open(number, spec, source.held_bytes if source.holds_samples else 0))
        if not source.holds_samples:
            self._brain.audio.keep(number, source.held_bytes, are_samples=False)
        if has_digest or not source.is_ready:
            self._begin(self._ask_when_read(number, source, has_digest=has_digest))
        else:  # no task for each: thousands may be submitted at once
            self._ask(number, source)
        return handle

    def speak(self, text: str, *, src: str, tgt: str | None = None, **options: Any) -> JobHandle:
        """Submit a text to be spoken, in ``tgt`` if that is another language; the result has the speech.

        At most 8 000 letters, and nothing to be heard: options as ``submit`` has them, without those of the audio.
        """
        return self.submit(NO_AUDIO, src=src, tgt=tgt, speech=True, text=text, copy=False, **options)

    def submit_many(self, audios: Iterable[AudioSource], **options: Any) -> list[JobHandle]:
        """Submit several utterances with the same options; they go to the Dispatcher in one call."""
        return [self.submit(audio, **options) for audio in audios]

    async def _ask_when_read(self, number: int, source: Source, *, has_digest: bool) -> None:
        """Look at the audio before the job is asked for, and read what can be read only once.

        ``has_digest``: the caller may say the same request id again; it tells whether it is the same utterance.
        """
        audio, made = self._brain.audio, ""
        try:
            if not source.is_ready:
                await source.prepare()
                audio.keep(number, source.held_bytes, are_samples=source.holds_samples)
            if has_digest:
                made = await fingerprint(source, number, audio)
        except SchedError as error:
            self._perform(self._brain.refuse(number, error.refusal))
            return
        self._ask(number, source, made, source.duration_ms)

    def _ask(self, number: int, source: Source, digest: str = "", audio_ms: int = 0) -> None:
        self._perform(self._brain.ask(number, digest, audio_ms))
        self._pusher.put_ahead(number, source)

    async def _cancel(self, handle: JobHandle) -> None:
        job_id = await handle.accepted()
        try:
            answer = await self._connection.cancel(job_id) or Refused(refusal=NO_ANSWER)
        except OutboxClosedError:  # this client is closed: what had no result was cancelled
            return
        if isinstance(answer, Refused) and not handle.is_done:
            raise SchedError.of(answer.refusal)

    # --- results ---------------------------------------------------------------------------------------------------

    def as_completed(self, handles: Iterable[JobHandle]) -> AsyncGenerator[Result, None]:
        """The results of these jobs, each as soon as it is there, failed ones too."""
        return as_completed(handles)

    def session(self, name: str, *, first_index: int | None = None) -> SessionStream:
        """The results of a session in the order in which it was spoken, and its gaps, as they are delivered.

        Ask for it before the first result can come: only what is delivered from then on is in it. ``first_index``: what
        is submitted from now on begins there, or goes on there after a restart, and nothing before it is awaited.
        Raises SchedError INVALID_MESSAGE if it is no index.
        """
        if first_index is not None:
            self._brain.turns.begin_session(name, index(first_index, "the first index of a session"))
        if name not in self._sessions:
            self._sessions[name] = SessionStream(name, self._end_session)
        return self._sessions[name]

    def _end_session(self, stream: SessionStream) -> None:
        self._brain.turns.end_session(stream.name)
        del self._sessions[stream.name]

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
        positions = itertools.count()

        def run(audio: AudioSource) -> Coroutine[Any, Any, Result]:
            return run_one(self.submit, next(positions), audio, deadline_s=deadline_s, **options)

        in_flight = windowed(audios, run, lambda: window or window_of(self._brain.slots), order)
        async with aclosing(in_flight) as results:
            async for result in results:
                yield result

    def transcribe_long(
        self, source: RecordingSource, *, src: str, window: int | None = None, **options: Any
    ) -> AsyncGenerator[Passage, None]:
        """Cut hours of audio into utterances where nobody speaks; yield the result of each with its place, in order.

        ``source``: as for ``submit``, or blocks of samples. Memory holds the window. Raises SchedError for what keeps
        it from being read to its end, after all before that. Options as ``submit`` and ``HowToHear`` have them.
        """
        run = partial(run_one, self.submit)
        return transcribe(run, source, lambda: window or window_of(self._brain.slots), {"src": src, **options})

    # --- effects ---------------------------------------------------------------------------------------------------

    def _perform(self, effects: list[ClientEffect]) -> None:
        """Carry out what the brain has decided, in order and at once; what takes time reports back to it."""
        for effect in effects:
            if isinstance(effect, SendMessage | SubmitLater | PushAudio | DropAhead | FetchSpeech):
                self._call(effect)
            else:
                self._notify(effect)

    def _call(self, effect: Call) -> None:
        match effect:
            case SendMessage():
                self._connection.send(effect)
            case SubmitLater():
                self._submit_later(effect)
            case PushAudio():
                self._pusher.push(PendingPush(effect, self._submitted[effect.number].source))
            case DropAhead():
                self._pusher.drop_ahead()
            case FetchSpeech():
                self._begin(self._fetch_speech(effect))
            case _:
                assert_never(effect)

    def _notify(self, effect: Notice) -> None:
        match effect:
            case NotifyAccepted():
                handle = self._submitted[effect.number].handle
                handle.record_accepted(effect.job_id, effect.utterance_index, is_duplicate=effect.is_duplicate)
            case NotifyPartial():
                self._submitted[effect.number].handle.record_partial(effect.text)
            case NotifyResult():
                self._give_result(effect)
            case NotifyRefused():
                handle = self._submitted.pop(effect.number).handle
                handle.record_result(refused(handle.spec, effect.refusal))
            case NotifyGap():
                self._announce_gap(effect.missing)
            case DiscardResult():
                log.debug("nobody waits for the result of job %s", effect.delivered.job_id)
            case EndSessions():
                for stream in list(self._sessions.values()):
                    stream.end()
            case _:
                assert_never(effect)

    def _submit_later(self, effect: SubmitLater) -> None:
        def submit() -> None:
            self._perform(self._brain.submit_again(effect.number))

        asyncio.get_running_loop().call_later(effect.after_ms / 1000, submit)

    async def _fetch_speech(self, effect: FetchSpeech) -> None:
        ready = effect.ready
        fetch = Fetch(job_id=ready.job_id, attempt=ready.attempt, token=ready.token)
        try:
            peer = self._directory.peer(ready.agent)
            speech = await peer.call("fetch_speech", encode(fetch), timeout_s=_SPEECH_TIMEOUT_S)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            self._perform(self._brain.transfers.speech_lost(ready, str(error)))
            return
        if effect.number in self._submitted:
            self._submitted[effect.number].speech = speech
        self._perform(self._brain.transfers.speech_fetched(ready))

    def _give_result(self, effect: NotifyResult) -> None:
        """One result for all submissions of the job."""
        submitted = [self._submitted.pop(number) for number in effect.numbers]
        first = submitted[0]
        result = result_of(effect.delivered, first.handle.spec, first.speech, first.source.report)
        for one in submitted:
            one.handle.record_result(result)
        stream = self._sessions.get(result.session) if result.utterance_index is not None else None
        if stream:
            stream.put(result)

    def _announce_gap(self, missing: MissingResult) -> None:
        stream = self._sessions.get(missing.session)
        if stream:
            stream.put(missing_of(missing))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
