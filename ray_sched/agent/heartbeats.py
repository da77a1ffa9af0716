"""Beats to the Registry and measures the load that its heartbeats report."""

import asyncio
import logging
from collections.abc import Callable

from ray_sched.agent.engine_run import Host
from ray_sched.agent.load import LoadMeter
from ray_sched.core.agent.brain import AgentBrain
from ray_sched.core.agent.effects import AgentEffect
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.agent_registry import BeatReply, Load
from ray_sched.wire.codec import decode, encode, plain
from ray_sched.wire.peers import Peer, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0


class Heartbeats:
    """Sends heartbeats. What one contains, and what follows from its answer, is the brain's to decide."""

    def __init__(
        self, brain: AgentBrain, host: Host, registry: Peer, perform: Callable[[list[AgentEffect]], None]
    ) -> None:
        self._brain = brain
        self._host = host
        self._registry = registry
        self._perform = perform
        self._load = Load()

    async def beat(self, every_s: float) -> None:
        """Beat for ever; the load is the last one measured."""
        while True:
            try:
                self._perform(self._brain.handle_beat_reply(await self._beat_once()))
            except (PeerGoneError, PeerUnavailableError):
                log.warning("the registry does not answer")
            except SchedError as error:
                log.error("the registry refuses this heartbeat: %s", error)  # noqa: TRY400  # the error is one sentence
            await asyncio.sleep(every_s)

    async def _beat_once(self) -> BeatReply:
        beat = self._brain.heartbeat(self._load, plain(self._host.why_unhealthy))
        return decode(await self._registry.call("beat", encode(beat), timeout_s=_CALL_TIMEOUT_S), BeatReply)

    async def measure(self, every_s: float) -> None:
        """Measure the load for ever, in a thread."""
        meter = await asyncio.to_thread(LoadMeter)
        while True:
            await asyncio.sleep(every_s)
            self._load = await asyncio.to_thread(meter.measure)
