"""The NodeAgent: an actor that runs jobs on one Ray node.

It decodes what clients, the Dispatcher and the Registry send, hands it to :mod:`its brain <ray_sched.core.agent.brain>`
and does what the brain asks for with the engine's host. It holds the audio and speech, and decides nothing.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, assert_never

import numpy as np
from msgspec import structs

from ray_sched.agent.engine_run import Host, run_to_end, work_of
from ray_sched.agent.heartbeats import Heartbeats, Meter
from ray_sched.agent.load import LoadMeter
from ray_sched.agent.reporter import Reporter, now_ms
from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import (
    AgentEffect,
    CancelRun,
    EndProcess,
    ForgetSpeech,
    RunCancelled,
    RunEnd,
    StartRun,
)
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import BadCapabilityError, checked
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_dispatcher import AgentOrders
from ray_sched.core.messages.client_agent import Fetch, Push, PushItem
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.wire.audio_batch import unpack
from ray_sched.wire.auth import agent_key, attempt_token, is_same
from ray_sched.wire.codec import decode, plain
from ray_sched.wire.keep_up import keep_up
from ray_sched.wire.peers import Directory, Payload
from ray_sched.wire.samples import Samples

log = logging.getLogger(__name__)


class NodeAgent:
    """One incarnation of the agent of one node."""

    def __init__(
        self,
        options: AgentOptions,
        host: Host,
        directory: Directory,
        heartbeat_ms: int,
        end_process: Callable[[], None],
        make_meter: Callable[[], Meter] = LoadMeter,
    ) -> None:
        """``options.key``: of this incarnation, see ``wire.auth``; empty: that of a scheduler without a secret."""
        key = options.key or agent_key(b"", options.node, options.incarnation)
        self._options = structs.replace(options, key=key)
        self._host = host
        self._end_process = end_process
        self.brain = AgentBrain(self._options, _Checks(key, host))
        self._runs: dict[AttemptKey, asyncio.Task[None]] = {}
        self._speech: dict[AttemptKey, bytes] = {}
        self._has_ended = asyncio.Event()
        self._reporter = Reporter(self.brain, directory.peer("dispatcher"), self._perform)
        beats = Heartbeats(self.brain, host, directory.peer("registry"), self._perform)
        every_s = heartbeat_ms / 1000
        background = (
            self._load_engine(beats.has_beaten),
            keep_up("the heartbeat", partial(beats.beat, every_s)),
            keep_up("measuring the load", partial(beats.measure, make_meter, every_s)),
        )
        self._background = [asyncio.create_task(forever) for forever in background]

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return f"agent:{self._options.node}"

    # --- called by clients -----------------------------------------------------------------------------------------

    async def push(self, raw: bytes, *audio_batch: Any) -> None:
        """A client brings jobs: the audio of those accepted is copied when this returns, the others are refused.

        The Dispatcher is sent which is which; the client only needs to know that it may drop the audio. Jobs meant for
        another incarnation, or without a valid token, are ignored. ``audio_batch``: see ``wire.audio_batch``. Raises
        SchedError INVALID_MESSAGE if the audio is not of the sizes in the push.
        """
        push = decode(raw, Push)
        if push.incarnation != self._options.incarnation:
            return
        try:
            payloads = unpack(audio_batch, [item.n_bytes for item in push.items])
        except ValueError as error:
            raise SchedError(Code.INVALID_MESSAGE, str(error)) from None
        self._perform(self.brain.handle_push(push, now_ms()), payloads)

    async def fetch_speech(self, raw: bytes) -> bytes:
        """Hand out synthesised speech; it stays until the Dispatcher orders to drop it."""
        fetch = decode(raw, Fetch)
        if not is_same(fetch.token, attempt_token(self._options.key, fetch.job_id, fetch.attempt)):
            raise SchedError(Code.UNAUTHENTICATED, "this is no token for the speech of that job")
        try:
            return self._speech[fetch.job_id, fetch.attempt]
        except KeyError:
            raise SchedError(Code.UNKNOWN_JOB, f"no speech of {fetch.job_id} waits here") from None

    # --- called by the dispatcher and the registry -----------------------------------------------------------------

    async def order(self, raw: bytes) -> None:
        """Carry out the Dispatcher's orders."""
        orders = decode(raw, AgentOrders)
        if orders.incarnation == self._options.incarnation and not is_same(orders.key, self._options.key):
            raise SchedError(Code.UNAUTHENTICATED, "orders come from the dispatcher only")
        self._perform(self.brain.handle_orders(orders, now_ms()))

    async def wait_until_ended(self) -> None:
        """Never returns while the agent lives: whoever waits notices its death at once."""
        await self._has_ended.wait()

    async def stop(self) -> None:
        """End the engine and everything this agent started."""
        tasks = [*self._background, *self._runs.values()]
        for task in tasks:
            task.cancel()
        await self._host.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reporter.close()
        self._has_ended.set()

    # --- what the brain asks for -----------------------------------------------------------------------------------

    def _perform(self, effects: list[AgentEffect], payloads: list[Payload] | None = None) -> None:
        """Do what the brain asks for, then send the reports that are due. ``payloads``: the audio of a push's items."""
        for effect in effects:
            match effect:
                case StartRun():
                    assert payloads is not None  # noqa: S101  # runs are started by pushes only
                    self._start(effect.item, payloads[effect.position])
                case CancelRun():
                    self._cancel(effect.key)
                case ForgetSpeech():
                    self._speech.pop(effect.key, None)
                case EndProcess():
                    log.warning("this agent ends: %s", effect.why)
                    self._end_process()
                case _:
                    assert_never(effect)
        self._reporter.schedule()

    def _start(self, item: PushItem, payload: Payload) -> None:
        """Audio that came in the call is the agent's own already; what came through the store is copied out, once."""
        audio = (payload if payload.flags.owndata else payload.copy()).view(np.int16)
        key = (item.job_id, item.attempt)
        self._runs[key] = asyncio.create_task(self._run(key, item, audio))

    async def _run(self, key: AttemptKey, item: PushItem, audio: Samples) -> None:
        """Run to the end and report it in the same step, so that the ledger never differs from the memory."""
        end: RunEnd = RunCancelled()
        speech = b""
        with suppress(asyncio.CancelledError):  # it would keep the audio until somebody looks at this task
            end, speech = await run_to_end(
                self._host,
                item,
                audio,
                lambda text: self._handle_partial(key, text),
                lambda: self._handle_loaded(key),
            )
        self._end(key, end, speech)

    def _cancel(self, key: AttemptKey) -> None:
        run = self._runs[key]
        coro = run.get_coro()
        run.cancel()
        if inspect.iscoroutine(coro) and inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:  # never to begin
            self._end(key, RunCancelled(), b"")

    def _end(self, key: AttemptKey, end: RunEnd, speech: bytes) -> None:
        del self._runs[key]
        if speech:
            self._speech[key] = speech
        self._perform(self.brain.handle_end(key, end, now_ms()))

    def _handle_partial(self, key: AttemptKey, text: str) -> None:
        self.brain.handle_partial(key, text, now_ms())
        self._reporter.schedule()

    def _handle_loaded(self, key: AttemptKey) -> None:
        self.brain.handle_loaded(key, now_ms())
        self._reporter.schedule()

    async def _load_engine(self, has_beaten: asyncio.Event) -> None:
        """Load once the Registry knows: an engine that loads in this process may silence it."""
        try:
            await has_beaten.wait()
            await self._host.start()
            capability = checked(self._host.capability())
        except BadCapabilityError as error:
            self.brain.engine_failed(plain(str(error)))
        except SchedError as error:
            self.brain.engine_failed(plain(error.message))
        except Exception as error:  # every heartbeat reports it from now on
            log.exception("the engine cannot be loaded")
            self.brain.engine_failed(plain(f"the engine cannot be loaded: {type(error).__name__}: {error}"))
        else:
            self.brain.engine_loaded(capability)
            log.info("engine loaded: %s", capability.text())


class _Checks:
    """What the brain asks about a pushed item."""

    def __init__(self, key: bytes, host: Host) -> None:
        self._key = key
        self._host = host

    def has_token(self, item: PushItem) -> bool:
        return is_same(item.token, attempt_token(self._key, item.job_id, item.attempt))

    def loads_within_ms(self) -> int:
        return self._host.loads_within_s * 1000

    def admit(self, item: PushItem) -> str | None:
        try:
            why = self._host.admit(work_of(item, self._host.capability()))
        except Exception as error:  # an engine's own code; the others of this push are decided nevertheless
            log.exception("the engine cannot say whether it takes job %s", item.job_id)
            why = f"the engine cannot say whether it takes this job: {type(error).__name__}: {error}"
        return plain(why) if why else None
