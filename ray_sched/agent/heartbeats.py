"""Beats to the Registry and measures the load that its heartbeats report."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Protocol

import psutil

from ray_sched.agent.engine_run import Host
from ray_sched.agent.load import Measured
from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import AgentEffect
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.agent_registry import BeatReply
from ray_sched.wire.codec import decode, encode, plain
from ray_sched.wire.peers import Peer, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0


class Meter(Protocol):
    """Measures the load between one call and the next (``load.LoadMeter``)."""

    def measure(self, siblings: Collection[int] = ()) -> Measured:
        """``siblings``: see LoadMeter. Blocking. Raises OSError or psutil.Error while the system does not say."""
        ...


class Heartbeats:
    """Sends heartbeats. What one contains, and what follows from its answer, is the brain's to decide."""

    def __init__(
        self, brain: AgentBrain, host: Host, registry: Peer, perform: Callable[[list[AgentEffect]], None]
    ) -> None:
        self._brain = brain
        self._host = host
        self._registry = registry
        self._perform = perform
        self._measured = Measured()
        self._siblings: tuple[int, ...] = ()
        self.has_beaten = asyncio.Event()
        """The first heartbeat was sent: the Registry knows that the engine loads."""

    async def beat(self, every_s: float) -> None:
        """Beat for ever; the load is the last one measured."""
        while True:
            try:
                reply = await self._beat_once()
                self._siblings = reply.siblings
                self._perform(self._brain.handle_beat_reply(reply))
            except (PeerGoneError, PeerUnavailableError):
                log.warning("the registry does not answer")
            except SchedError as error:
                log.error("the registry refuses this heartbeat: %s", error)  # noqa: TRY400  # the error is one sentence
            self.has_beaten.set()
            if self._host.is_stuck:
                self._perform(self._brain.handle_stuck_engine(plain(self._host.why_unhealthy)))
            await asyncio.sleep(every_s)

    async def _beat_once(self) -> BeatReply:
        load, gpus = self._measured
        loads_in_ms = round(self._host.loads_in_s * 1000)
        beat = self._brain.heartbeat(load, plain(self._host.why_unhealthy), gpus, self._host.progress, loads_in_ms)
        return decode(await self._registry.call("beat", encode(beat), timeout_s=_CALL_TIMEOUT_S), BeatReply)

    async def measure(self, make_meter: Callable[[], Meter], every_s: float) -> None:
        """Measure the load for ever, in a thread. While it cannot be measured nothing is known, and nothing is said."""
        self._measured = Measured()  # it begins again after a surprise, too
        meter: Meter | None = None
        is_failing = False
        while True:
            try:
                if meter is None:
                    meter = await asyncio.to_thread(make_meter)
                await asyncio.sleep(every_s)
                self._measured = await asyncio.to_thread(meter.measure, self._siblings)
            except (OSError, psutil.Error) as error:
                self._measured = Measured()
                if not is_failing:
                    log.warning("the load cannot be measured: %s", error)
                is_failing = True
                await asyncio.sleep(every_s)
            else:
                is_failing = False
