"""The Timer's shell: sends other actors their ticks. One tick of a kind is under way at a time."""

import asyncio
import logging
from collections.abc import Iterable

from ray_sched.core.timers import Schedule, Tick
from ray_sched.wire.clock import Clock
from ray_sched.wire.keep_up import SURPRISES, keep_up
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_TICK_TIMEOUT_S = 10.0


class Timer:
    """Actor ``timer``: a clean-up, a time-out, a sweep is a tick of this actor."""

    def __init__(self, ticks: Iterable[Tick], directory: Directory) -> None:
        self._directory = directory
        self._clock = Clock()
        self._schedule = Schedule(ticks, self._clock.now_ms())
        self._under_way: dict[Tick, asyncio.Task[None]] = {}
        self._loop = asyncio.create_task(keep_up("the timer", self._run))

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return "timer"

    async def ping(self) -> None:
        """Return: whoever starts the scheduler may wait for it."""

    async def _run(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            for tick in self._schedule.due(now_ms):
                if tick not in self._under_way:
                    self._under_way[tick] = asyncio.create_task(self._send(tick))
            await asyncio.sleep(max(self._schedule.next_due_ms() - self._clock.now_ms(), 1) / 1000)

    async def _send(self, tick: Tick) -> None:
        try:
            await self._directory.peer(tick.actor).call("tick", tick.what, timeout_s=_TICK_TIMEOUT_S)
        except (PeerGoneError, PeerUnavailableError) as error:
            log.warning("%s did not take its %s tick: %s", tick.actor, tick.what, error)
        except Exception:  # the actor has raised what it does not say that it raises
            SURPRISES[f"the {tick.what} tick of {tick.actor}"] += 1
            log.exception("%s has failed at its %s tick", tick.actor, tick.what)
        finally:
            del self._under_way[tick]
