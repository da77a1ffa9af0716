"""The NodeAgent: runs jobs on one Ray node.

It accepts or refuses what clients push, runs it in the engine's host, and reports to the Dispatcher, repeating until
acknowledged. It beats to the Registry. It decides nothing about jobs and never overfills its slots (AgentBook).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from msgspec import structs

from ray_sched.agent.engine import EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.host import EngineCrashedError, EngineFailedError
from ray_sched.agent.load import LoadMeter
from ray_sched.core.agent.book import AgentBook
from ray_sched.core.capability import BadCapabilityError, Capability, checked
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_dispatcher import (
    AgentBatch,
    AgentMessage,
    AgentOrders,
    DropSpeech,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
    StopRun,
)
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat, Load
from ray_sched.core.messages.client_agent import Push, PushItem, TakeSpeech
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.wire.audio_batch import unpack
from ray_sched.wire.auth import agent_key, attempt_token, is_same
from ray_sched.wire.codec import decode, encode, plain
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, Payload, PeerGoneError, PeerUnavailableError
from ray_sched.wire.samples import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Samples

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0
_REPEAT_AFTER_S = 0.2
_MAX_TEXT = 100_000
"""Letters of a partial text; it is cut."""
_COALESCE_S = 0.001
"""How long the end of one run waits for the end of others that run beside it: jobs that came together end together."""
_KEEP_SPEECH_S = 300.0
"""Speech that nobody fetched, and that nobody said would not be fetched, is dropped after this long."""


class Host(Protocol):
    """Where the engine runs (``host.EngineHost``)."""

    async def start(self) -> None:
        """Load the engine in every slot."""
        ...

    async def stop(self) -> None:
        """End the engine and its processes."""
        ...

    def capability(self) -> Capability:
        """What is really installed."""
        ...

    def admit(self, work: Work) -> str | None:
        """Why this work is refused right now, or None."""
        ...

    async def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run on a free slot."""
        ...

    async def cancel(self, job_id: str, attempt: int) -> None:
        """End a run; its caller gets CancelledError."""
        ...

    @property
    def why_unhealthy(self) -> str:
        """What is wrong, or nothing."""
        ...


class NodeAgent:
    """One incarnation of the agent of one node."""

    def __init__(
        self,
        node: str,
        incarnation: int,
        slots: int,
        host: Host,
        directory: Directory,
        heartbeat_ms: int,
        end_process: Callable[[], None],
        key: bytes | None = None,
    ) -> None:
        """``key``: of this incarnation, see ``wire.seals``; None: that of a scheduler without a secret."""
        self._node = node
        self._incarnation = incarnation
        self._key = agent_key(b"", node, incarnation) if key is None else key
        self._host = host
        self._directory = directory
        self._heartbeat_s = heartbeat_ms / 1000
        self._end_process = end_process
        self._book = AgentBook(slots)
        self._runs: dict[AttemptKey, asyncio.Task[None]] = {}
        self._speech: dict[AttemptKey, bytes] = {}
        self._accepted_at_s: dict[AttemptKey, float] = {}
        self._reports: Outbox[AgentMessage, None] = Outbox(self._send_reports, on_lost=_log_lost)
        self._partials: dict[AttemptKey, str] = {}
        """The newest partial text of each attempt that waits to be sent."""
        self._capability: Capability | None = None
        self._is_loaded = False
        self._broken = ""
        self._load = Load()
        self._over = asyncio.Event()
        self._tasks = {asyncio.create_task(self._load_engine()), asyncio.create_task(self._beat())}

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return f"agent:{self._node}"

    # --- called by clients -----------------------------------------------------------------------------------------

    async def push(self, raw: bytes, *audio_batch: Any) -> None:
        """A client brings jobs: the audio of those accepted is copied when this returns, the others are refused.

        The Dispatcher is told which is which; the client only needs to know that it may drop the audio. Jobs meant for
        another incarnation, or without a valid token, are ignored. ``audio_batch``: see ``wire.audio_batch``. Raises
        SchedError INVALID_MESSAGE if the audio is not what the push says.
        """
        push = decode(raw, Push)
        if push.incarnation != self._incarnation:
            return
        try:
            payloads = unpack(audio_batch, [item.n_bytes for item in push.items])
        except ValueError as error:
            raise SchedError(Code.INVALID_MESSAGE, str(error)) from None
        for item, payload in zip(push.items, payloads, strict=True):
            self._take(item, payload)

    def _take(self, item: PushItem, payload: Payload) -> None:
        """Accept one job and start it, or refuse it. An attempt that runs here already is accepted again."""
        key = (item.job_id, item.attempt)
        if not is_same(item.token, attempt_token(self._key, *key)):
            return
        if key not in self._runs:
            work = Work(job_id=item.job_id, attempt=item.attempt, src=item.src, tgt=item.tgt, services=item.services)
            why = self._why_refused(item, work)
            if why:
                self._book.refuse(item)
                self._reports.put(RunRefused(job_id=item.job_id, attempt=item.attempt, why=plain(why)))
                return
            self._start(key, item, work, payload)
        audio_ms = item.n_bytes // BYTES_PER_SAMPLE * 1000 // SAMPLE_RATE_HZ
        self._reports.put_lazily(
            RunAccepted(job_id=item.job_id, attempt=item.attempt, audio_ms=audio_ms, audio_bytes=item.n_bytes)
        )

    def _start(self, key: AttemptKey, item: PushItem, work: Work, payload: Payload) -> None:
        audio = (payload if payload.flags.owndata else payload.copy()).view(np.int16)
        self._book.take(item)
        self._accepted_at_s[key] = asyncio.get_running_loop().time()
        self._runs[key] = asyncio.create_task(self._run(key, work, audio, wants_partials=item.wants_partials))

    def _why_refused(self, item: PushItem, work: Work) -> str | None:
        if not self._is_loaded:
            return "the engine is still loading"
        if not item.n_bytes or item.n_bytes % BYTES_PER_SAMPLE:
            return "the push does not hold whole samples of audio"
        return self._book.why_refused(item) or self._host.admit(work)

    async def take_speech(self, raw: bytes) -> bytes:
        """Hand out synthesised speech; it stays until the Dispatcher says that it was taken."""
        wanted = decode(raw, TakeSpeech)
        if not is_same(wanted.token, attempt_token(self._key, wanted.job_id, wanted.attempt)):
            raise SchedError(Code.UNAUTHENTICATED, "this is no ticket for the speech of that job")
        try:
            return self._speech[wanted.job_id, wanted.attempt]
        except KeyError:
            raise SchedError(Code.UNKNOWN_JOB, f"no speech of {wanted.job_id} waits here") from None

    # --- called by the dispatcher and the registry -----------------------------------------------------------------

    async def order(self, raw: bytes) -> None:
        """Carry out the Dispatcher's orders."""
        orders = decode(raw, AgentOrders)
        if orders.incarnation != self._incarnation:
            return
        if not is_same(orders.key, self._key):
            raise SchedError(Code.UNAUTHENTICATED, "orders come from the dispatcher only")
        for order in orders.orders:
            key = (order.job_id, order.attempt)
            match order:
                case StopRun():
                    await self._stop(key)
                case DropSpeech():
                    self._drop_speech(key)

    async def _stop(self, key: AttemptKey) -> None:
        self._drop_speech(key)
        if self._book.stop(key):
            await self._host.cancel(*key)
        else:
            self._reports.put(RunStopped(job_id=key[0], attempt=key[1]))

    def _drop_speech(self, key: AttemptKey) -> None:
        if self._speech.pop(key, None) is not None:
            self._book.drop_speech(key)

    async def wait_until_over(self) -> None:
        """Never returns while the agent lives: whoever waits notices its death at once."""
        await self._over.wait()

    async def stop(self) -> None:
        """End the engine and everything this agent started."""
        for task in [*self._tasks, *self._runs.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._runs.values(), return_exceptions=True)
        await self._host.stop()
        await self._reports.close()
        self._over.set()

    # --- runs ------------------------------------------------------------------------------------------------------

    async def _run(self, key: AttemptKey, work: Work, audio: Samples, *, wants_partials: bool) -> None:
        clock = asyncio.get_running_loop().time
        began_s = clock()

        def emit_partial(text: str) -> None:
            if wants_partials:
                self._report_partial(key, plain(text, _MAX_TEXT))

        try:
            result = await self._host.run(work, audio, emit_partial)
        except asyncio.CancelledError:
            self._report_end(key, RunStopped(job_id=key[0], attempt=key[1]))
            if self._over.is_set() or (task := asyncio.current_task()) is None or task.cancelling():
                raise
        except RefusedError as error:
            self._report_end(key, RunRefused(job_id=key[0], attempt=key[1], why=plain(str(error))))
        except ModelNotAvailableError as error:
            self._report_failure(key, Code.MODEL_NOT_AVAILABLE, error.message, began_s, error.service)
        except (EngineFailedError, EngineCrashedError) as error:
            code = Code.ENGINE_CRASHED if isinstance(error, EngineCrashedError) else Code.ENGINE_FAILED
            self._report_failure(key, code, str(error), began_s)
        except Exception as error:  # whatever it is, the slot must not be lost with it
            log.exception("job %s attempt %d failed", *key)
            self._report_failure(key, Code.ENGINE_FAILED, f"{type(error).__name__}: {error}", began_s)
        else:
            self._report_result(key, result, began_s)
        finally:
            self._runs.pop(key, None)
            self._partials.pop(key, None)

    def _report_end(self, key: AttemptKey, message: AgentMessage) -> None:
        """The attempt has left its slot; tell the Dispatcher."""
        self._book.leave(key)
        if self._book.running:
            self._reports.put_lazily(message, _COALESCE_S)
        else:
            self._reports.put(message)

    def _report_failure(self, key: AttemptKey, code: Code, why: str, began_s: float, service: str = "") -> None:
        run_ms = round((asyncio.get_running_loop().time() - began_s) * 1000)
        message = RunFailed(
            job_id=key[0], attempt=key[1], code=code, why=plain(why), service=plain(service, 256), run_ms=run_ms
        )
        self._report_end(key, message)

    def _report_partial(self, key: AttemptKey, text: str) -> None:
        """Newer texts replace the one that waits: a talkative engine fills no memory."""
        is_waiting = key in self._partials
        self._partials[key] = text
        if not is_waiting:
            self._reports.put(RunPartial(job_id=key[0], attempt=key[1], text=text))

    def _report_result(self, key: AttemptKey, result: EngineResult, began_s: float) -> None:
        """Nobody has looked at what an engine returned: what cannot be passed on is a failure of the engine."""
        run_ms = round((asyncio.get_running_loop().time() - began_s) * 1000)
        try:
            message = _finished(key, result, run_ms)
        except (SchedError, AttributeError, TypeError, ValueError, OverflowError) as error:
            self._report_failure(key, Code.ENGINE_FAILED, f"the engine's result cannot be passed on: {error}", began_s)
            return
        if result.speech:
            self._speech[key] = result.speech
            self._book.keep_speech(key, len(result.speech))
            asyncio.get_running_loop().call_later(_KEEP_SPEECH_S, self._drop_speech, key)
        self._report_end(key, message)

    async def _send_reports(self, messages: list[AgentMessage]) -> list[None]:
        """Report to the Dispatcher until it has answered."""
        peer = self._directory.peer("dispatcher")
        while True:
            dated = tuple(self._dated(message) for message in messages)
            raw = encode(AgentBatch(node=self._node, incarnation=self._incarnation, key=self._key, messages=dated))
            try:
                await peer.call("agent", raw, timeout_s=_CALL_TIMEOUT_S)
                break
            except (PeerGoneError, PeerUnavailableError):
                await asyncio.sleep(_REPEAT_AFTER_S)
        for message in messages:
            if isinstance(message, RunAccepted):
                self._accepted_at_s.pop((message.job_id, message.attempt), None)
        return [None] * len(messages)

    def _dated(self, message: AgentMessage) -> AgentMessage:
        """An acceptance says how old it is, since it travels without hurry; a partial text is the newest there is."""
        if isinstance(message, RunPartial):
            newest = self._partials.pop((message.job_id, message.attempt), message.text)
            return structs.replace(message, text=newest)
        if not isinstance(message, RunAccepted):
            return message
        accepted_at_s = self._accepted_at_s.get((message.job_id, message.attempt), 0.0)
        age_ms = round((asyncio.get_running_loop().time() - accepted_at_s) * 1000) if accepted_at_s else 0
        return structs.replace(message, age_ms=age_ms)

    # --- health ----------------------------------------------------------------------------------------------------

    async def _load_engine(self) -> None:
        try:
            await self._host.start()
            self._capability = checked(self._host.capability())
            self._is_loaded = True
            log.info("engine loaded: %s", self._capability.text())
        except BadCapabilityError as error:
            self._broken = str(error)
        except SchedError as error:
            self._broken = error.message
        except Exception as error:  # told in every heartbeat from now on
            log.exception("the engine cannot be loaded")
            self._broken = f"the engine cannot be loaded: {type(error).__name__}: {error}"

    async def _beat(self) -> None:
        """Beat to the Registry for as long as it says that this incarnation is current."""
        measuring = asyncio.create_task(self._measure())
        self._tasks.add(measuring)
        peer = self._directory.peer("registry")
        while True:
            try:
                raw = await peer.call("beat", encode(self._heartbeat()), timeout_s=_CALL_TIMEOUT_S)
                reply = decode(raw, BeatReply)
                self._book.is_draining = reply.is_draining
                if not reply.is_current:
                    log.warning("another incarnation has taken over; this one ends")
                    self._end_process()
            except (PeerGoneError, PeerUnavailableError):
                log.warning("the registry does not answer")
            except SchedError as error:
                log.error("the registry does not take this heartbeat: %s", error)  # noqa: TRY400  # said all
            await asyncio.sleep(self._heartbeat_s)

    async def _measure(self) -> None:
        meter = await asyncio.to_thread(LoadMeter)
        while True:
            await asyncio.sleep(self._heartbeat_s)
            self._load = await asyncio.to_thread(meter.measure)

    def _heartbeat(self) -> Heartbeat:
        why = self._broken or (self._host.why_unhealthy if self._is_loaded else "")
        audio_bytes, speech_bytes = self._book.bytes()
        return Heartbeat(
            node=self._node,
            incarnation=self._incarnation,
            key=self._key,
            is_loaded=self._is_loaded,
            is_healthy=not why,
            why=plain(why) or ("" if self._is_loaded else "loading its engine"),
            capability=self._capability,
            load=self._load,
            running=self._book.running,
            most_running=self._book.most_running,
            accepted=self._book.accepted,
            audio_bytes=audio_bytes,
            speech_bytes=speech_bytes,
        )


def _finished(key: AttemptKey, result: EngineResult, run_ms: int) -> RunFinished:
    """The report of a result. Raises one of many errors if it is not what an engine has to return."""
    if not isinstance(result.speech, bytes):
        raise TypeError(f"speech is {type(result.speech).__name__}, not bytes")
    message = RunFinished(
        job_id=key[0],
        attempt=key[1],
        text=result.text,
        translation=result.translation,
        speech_bytes=len(result.speech),
        speech_rate_hz=result.speech_rate_hz,
        run_ms=run_ms,
    )
    return decode(encode(message), RunFinished)


def _log_lost(messages: list[AgentMessage], error: Exception) -> None:
    log.error("%d reports to the dispatcher failed: %s", len(messages), error)
