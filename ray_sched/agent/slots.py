"""One slot of an engine: it runs one attempt at a time and can be cancelled. What its host asks of it, and its states.

Two kinds: a :mod:`thread slot <ray_sched.agent.thread_slot>` shares its engine with the others and cannot be stopped in
the middle; a :mod:`process slot <ray_sched.agent.process_slot>` has a process of its own that is killed and started
again. Which slot runs what is the :mod:`host <ray_sched.agent.host>`'s business.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from ray_sched.agent.engine import EngineResult, Work
from ray_sched.wire.samples import Samples


class SlotState(StrEnum):
    """What a slot is doing. Only an idle slot runs work; a failed one never will again."""

    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    FAILED = "failed"
    STOPPED = "stopped"


class SlotTable:
    """Which slots are in which state, so that nobody has to look at all of them. ``changed`` is set by each change."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._in: dict[SlotState, dict[Slot, None]] = {state: {} for state in SlotState}

    def add(self, slot: "Slot", state: SlotState) -> None:
        """Add a new slot in this state."""
        self._in[state][slot] = None

    def move(self, slot: "Slot", before: SlotState, after: SlotState) -> None:
        """Note that a slot has changed its state."""
        del self._in[before][slot]
        self._in[after][slot] = None
        self.changed.set()

    def count(self, *states: SlotState) -> int:
        """How many slots are in these states."""
        return sum(len(self._in[state]) for state in states)

    def first(self, state: SlotState) -> "Slot | None":
        """The slot that has been in this state longest, or None."""
        return next(iter(self._in[state]), None)


class Slot(Protocol):
    """What the host asks of a slot."""

    why: str
    """Why the slot has failed, one sentence; empty otherwise."""

    @property
    def state(self) -> SlotState:
        """What it is doing."""
        ...

    async def run(self, work: Work, audio: bytes | Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        """Run on this idle slot."""
        ...

    def abandon(self) -> None:
        """End the current run: its caller gets asyncio.CancelledError."""
        ...

    async def stop(self) -> None:
        """End everything the slot started."""
        ...


def settle(outcome: "asyncio.Future[EngineResult]", value: EngineResult | BaseException) -> bool:
    """Give an outcome to whoever waits, once; False if it has one already."""
    if outcome.done():
        return False
    if isinstance(value, BaseException):
        outcome.set_exception(value)
        outcome.exception()  # an abandoned run has nobody who asks; that is no reason for asyncio to complain
    else:
        outcome.set_result(value)
    return True
