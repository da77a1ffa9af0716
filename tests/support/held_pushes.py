"""Pushes that are under way as long as a test likes, with their audio in the object store."""

import asyncio
from typing import Any

from ray_sched.system.ray_peers import RayDirectory
from ray_sched.wire.peers import Peer


class HeldPushes:
    """A directory whose pushes wait, with their object in the store, until they are let go."""

    def __init__(self, namespace: str) -> None:
        self._directory = RayDirectory(namespace)
        self.let_go = asyncio.Event()
        self.n_held = 0

    def peer(self, actor: str) -> Peer:
        return HeldPeer(self._directory.peer(actor), self)


class HeldPeer:
    def __init__(self, peer: Peer, pushes: HeldPushes) -> None:
        self._peer = peer
        self._pushes = pushes

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        if method == "push":
            self._pushes.n_held += 1
            await self._pushes.let_go.wait()
        return await self._peer.call(method, *args, timeout_s=timeout_s)
