"""The scheduler as its administrator sees it, looked at many times a second: how faults are noticed and repaired."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ray_sched.core.views.jobs import ClusterView
from ray_sched.core.views.nodes import NodeRow
from ray_sched.system.start import Scheduler
from ray_sched.wire.peers import PeerGoneError, PeerUnavailableError

LOOK_S = 0.05
STATUS_EVERY = 4
"""Looks at the nodes per look at the Dispatcher."""
_TIMEOUT_S = 1.0
_GRACE_S = 4.0
"""What follows from a fault may still show this long after it was repaired."""


class Actor(dict[str, Any]):
    """What Ray says of one actor."""

    @property
    def pid(self) -> int:
        """Process id."""
        return int(self.get("Pid", 0))

    @property
    def is_alive(self) -> bool:
        """It serves calls."""
        return self.get("State") == "ALIVE"


def actor_of(name: str, namespace: str) -> Actor:
    """The named actor by Ray's own books. Raises ValueError if there is none."""
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported

    handle = ray.get_actor(name, namespace=namespace)
    return Actor(ray._private.state.actors(handle._actor_id.hex()))


class FalseAlarms:
    """Knows on which nodes harm was done, and hears what the Registry says of all of them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.suspects: list[str] = []
        """Suspected without a fault, and not lost: no alarm yet."""
        self.harmed_ever: set[str] = set()
        self._until_s: dict[str, float] = {}
        self._was: dict[str, tuple[str, int]] = {}

    def harm(self, node: str) -> None:
        """From now on this node may be lost."""
        self.harmed_ever.add(node)
        self._until_s[node] = float("inf")

    def repaired(self, node: str, now_s: float) -> None:
        """It is whole again."""
        self._until_s[node] = now_s + _GRACE_S

    def see(self, row: NodeRow, now_s: float, at: str) -> None:
        """A row of the Registry's list."""
        was, self._was[row.node] = self._was.get(row.node), (row.status, row.incarnation)
        if was is None or was == self._was[row.node] or now_s < self._until_s.get(row.node, 0):
            return
        if row.status == "lost" or row.incarnation > was[1]:
            self.found.append(f"{at} {row.node}.{row.incarnation} is {row.status}: {row.why}")
        elif row.status == "suspect":
            self.suspects.append(f"{at} {row.node}.{row.incarnation}")


class Watch:
    """Looks, and lets others wait for what it sees."""

    def __init__(self, scheduler: Scheduler, began_s: float) -> None:
        self.rows: dict[str, NodeRow] = {}
        self.status: ClusterView | None = None
        self.alarms = FalseAlarms()
        self.most_waiting = 0
        self._began_s = began_s
        self._registry = scheduler.directory.peer("registry")
        self._dispatcher = scheduler.directory.peer("dispatcher")

    async def run(self) -> None:
        """Look for ever."""
        asking = asyncio.create_task(self._ask_dispatcher())
        try:
            while True:
                try:
                    rows = await self._registry.call("nodes", timeout_s=_TIMEOUT_S)
                except (PeerGoneError, PeerUnavailableError):
                    rows = []
                self._see(rows)
                await asyncio.sleep(LOOK_S)
        finally:
            asking.cancel()

    def _see(self, rows: list[NodeRow]) -> None:
        now_s = time.monotonic()
        for row in rows:
            self.alarms.see(row, now_s, f"{now_s - self._began_s:.1f} s:")
        if rows:
            self.rows = {row.node: row for row in rows}

    async def _ask_dispatcher(self) -> None:
        while True:
            try:
                self.status = await self._dispatcher.call("status", timeout_s=_TIMEOUT_S)
                self.most_waiting = max(self.most_waiting, self.status.waiting if self.status else 0)
            except (PeerGoneError, PeerUnavailableError):
                self.status = None
            await asyncio.sleep(LOOK_S * STATUS_EVERY)

    async def until(self, is_so: Callable[[], bool], timeout_s: float) -> float | None:
        """The moment at which it was so, or None if it was not in time."""
        give_up_s = time.monotonic() + timeout_s
        while not is_so():  # what is asked of is in other processes, which tell nobody
            if time.monotonic() >= give_up_s:
                return None
            await asyncio.sleep(LOOK_S)
        return time.monotonic()

    def status_of(self, node: str) -> str:
        """As the Registry says; empty if it does not know the node."""
        row = self.rows.get(node)
        return row.status if row else ""

    def incarnation_of(self, node: str) -> int:
        """As the Registry says; 0 if it does not know the node."""
        row = self.rows.get(node)
        return row.incarnation if row else 0
