"""The pools as the Registry reaches them: opened, notified of their members, closed.

A pool is sent only the newest members message: it is complete, and goes again four times a second. One that gets
lost is not repeated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import structs

from ray_sched.actors.background import Background
from ray_sched.core.messages.registry_dispatcher import PoolRemoved
from ray_sched.core.messages.registry_pool import PoolMembers, SlotsAcquired
from ray_sched.wire.auth import pool_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory

_CALL_TIMEOUT_S = 5.0


class PoolStarter(Protocol):
    """Who starts and ends the actors of pools."""

    async def open_pool(self, pool: str) -> None:
        """Start a pool's actor, if there is none; ``pool`` is the actor's name."""
        ...

    async def end_actor(self, name: str) -> None:
        """End an actor's process, whatever it is doing; nothing happens if there is none."""
        ...


class PoolPeers:
    """Every pool that was opened or notified, with an outbox each."""

    def __init__(
        self,
        directory: Directory,
        starter: PoolStarter,
        background: Background,
        handle_acquired: Callable[[SlotsAcquired], None],
        secret: bytes,
    ) -> None:
        """``handle_acquired`` is called with each pool's answer to its members; ``secret``: see ``wire.auth``."""
        self._directory = directory
        self._starter = starter
        self._background = background
        self._handle_acquired = handle_acquired
        self._secret = secret
        self._outboxes: dict[str, Outbox[PoolMembers, None]] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def open(self, pool: str) -> None:
        """Start the pool's actor; members messages wait until it is there."""
        self._opening[pool] = self._background.begin(self._starter.open_pool(f"pool:{pool}"))

    def notify(self, members: PoolMembers) -> None:
        """Notify a pool of its members; nobody waits for it."""
        pool = members.pool
        if pool not in self._outboxes:
            self._outboxes[pool] = Outbox(self._sender(pool), on_lost=lambda _members, _error: None)
        self._outboxes[pool].put(members)

    def close(self, pool: str) -> None:
        """End the pool's actor, and notify the Dispatcher of that."""
        self._background.begin(self._close(pool))

    def _sender(self, pool: str) -> Callable[[list[PoolMembers]], Awaitable[Sequence[None]]]:
        async def send(members: list[PoolMembers]) -> list[None]:
            if pool in self._opening:
                await self._opening.pop(pool)
            peer = self._directory.peer(f"pool:{pool}")
            sealed = structs.replace(members[-1], key=pool_key(self._secret, pool))
            raw = await peer.call("members", encode(sealed), timeout_s=_CALL_TIMEOUT_S)
            self._handle_acquired(decode(raw, SlotsAcquired))
            return [None] * len(members)

        return send

    async def _close(self, pool: str) -> None:
        outbox = self._outboxes.pop(pool, None)
        if outbox:
            await outbox.close()
        await self._starter.end_actor(f"pool:{pool}")
        removed = PoolRemoved(pool=pool, key=pool_key(self._secret, pool))
        await self._directory.peer("dispatcher").call("pool_closed", encode(removed), timeout_s=_CALL_TIMEOUT_S)
