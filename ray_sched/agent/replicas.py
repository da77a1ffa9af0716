"""One replica of an engine: a loaded model that serves one slot or many. What its host asks of it, and its states.

Two kinds: a :mod:`thread replica <ray_sched.agent.thread_replica>` lives in the agent's process and cannot be stopped;
a :mod:`process replica <ray_sched.agent.process_replica>` is a process that is killed and started again. Which replica
runs what is the :mod:`host <ray_sched.agent.host>`'s business.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Protocol

from ray_sched.agent.engine import EngineResult, Work
from ray_sched.wire.samples import Samples


class ReplicaState(StrEnum):
    """What a replica is doing. Only a ready one runs work; a failed one never will again.

    An unloaded one has no process, and loads again when it is woken.
    """

    LOADING = "loading"
    READY = "ready"
    UNLOADED = "unloaded"
    FAILED = "failed"
    STOPPED = "stopped"


class Replica(Protocol):
    """What the host asks of a replica."""

    why: str
    """Why it has failed, one sentence; empty otherwise."""

    @property
    def why_stuck(self) -> str:
        """Of a run that cannot be ended, one sentence; else empty."""
        ...

    @property
    def state(self) -> ReplicaState:
        """What it is doing."""
        ...

    @property
    def free_slots(self) -> int:
        """How many more runs it could serve: now if it is ready, or when it has loaded."""
        ...

    @property
    def loads_in_s(self) -> float:
        """About how long it takes until it is ready, as far as that was learned; 0: it is, or nobody knows."""
        ...

    def wake(self) -> None:
        """Load again if it is unloaded."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that was started for it, while it lives."""
        ...

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run in a free slot of this ready replica; it is taken before the first await. Cancel the task to end it."""
        ...

    async def stop(self) -> None:
        """End everything the replica started; the callers of its runs get asyncio.CancelledError."""
        ...


async def wait_through(event: asyncio.Event) -> None:
    """Wait for an event, however often this task is cancelled."""
    while not event.is_set():
        with suppress(asyncio.CancelledError):
            await event.wait()


def settle(outcome: "asyncio.Future[EngineResult]", value: EngineResult | BaseException) -> None:
    """Give an outcome to whoever waits, unless it has one already."""
    if outcome.done():
        return
    if isinstance(value, BaseException):
        outcome.set_exception(value)
        outcome.exception()  # an abandoned run has nobody who asks; that is no reason for asyncio to complain
    else:
        outcome.set_result(value)
