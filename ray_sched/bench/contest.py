"""What a contestant is: one way to have jobs done, as ``trial`` measures it."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from ray_sched.bench.load import Supply

Notify = Callable[[str], None]
"""Called with a sentence at each step, as it begins."""


class Contestant(Protocol):
    """One way to have jobs done."""

    name: str
    note: str
    """What it is, in one line."""

    async def start(self) -> None:
        """Start what it needs."""
        ...

    async def closed(self, supply: Supply, in_flight: int) -> None:
        """Keep so many jobs in flight until the supply ends."""
        ...

    async def open_loop(self, supply: Supply, per_s: float) -> None:
        """Submit so many a second until the supply ends. Raises NotImplementedError where it cannot."""
        ...

    async def stop(self) -> None:
        """End what was started, as far as it does not end with the cluster."""
        ...


class Length(Struct, frozen=True, kw_only=True):
    """How long one run is."""

    jobs: int = 0
    """This many jobs; 0: as many as there is time for."""
    seconds: float = 3.0


class EngineLoad(Struct, frozen=True, kw_only=True):
    """The engine that everybody runs, with the same options."""

    name: str
    options: dict[str, str]
    slots: int
    """Utterances that it serves at the same time."""
