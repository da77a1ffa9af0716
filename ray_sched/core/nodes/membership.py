"""Membership: which pools there are, which node is in which, and what each pool has to know of its nodes.

A pool is the set of nodes with one capability, up to a limit; what is more opens the next one. This owns the pools
and the numbers of the messages to them. It never judges how a node is.
"""

from collections.abc import Mapping

from ray_sched.core.capability import Capability
from ray_sched.core.effects import Log
from ray_sched.core.messages.registry_pool import MembersVersion, NodeView, PoolMembers
from ray_sched.core.nodes.effects import ClosePool, NotifyPool, OpenPool, RegistryEffect
from ray_sched.core.nodes.node import Node
from ray_sched.core.rules import PoolRules

_NOTIFY_LOST_MS = 5_000


class RegisteredPool:
    """A pool as the Registry sees it: name, capability, members, and the nodes it lost a moment ago."""

    def __init__(self, name: str, capability: Capability) -> None:
        self.name = name
        self.capability = capability
        self._members: dict[str, Node] = {}
        self._lost: dict[str, Node] = {}
        """Sent to the pool for five seconds, since a single message about a loss may get lost itself."""
        self._empty_since_ms: int | None = None

    @property
    def members(self) -> Mapping[str, Node]:
        """The pool's nodes by name, without those that are lost."""
        return self._members

    def add(self, node: Node) -> None:
        """The node belongs to it from now on; an earlier incarnation is not sent to it any more."""
        self._members[node.name] = node
        self._lost.pop(node.name, None)
        self._empty_since_ms = None
        node.join(self.name, self.capability)

    def remove(self, node: Node, now_ms: int) -> None:
        """The node does not belong to it any more."""
        self._members.pop(node.name, None)
        if not self._members:
            self._empty_since_ms = now_ms

    def lose(self, node: Node, now_ms: int) -> None:
        """The node is lost: it is no member, and the pool is notified of the loss for five seconds."""
        self.remove(node, now_ms)
        self._lost[node.name] = node

    def forget_lost(self, now_ms: int) -> None:
        """Forget the nodes that were lost five seconds ago: the pool is not notified of them any more."""
        self._lost = {name: node for name, node in self._lost.items() if now_ms - node.ended_at_ms < _NOTIFY_LOST_MS}

    def is_idle(self, ttl_ms: int, now_ms: int) -> bool:
        """Whether it has been without members for so long."""
        return self._empty_since_ms is not None and now_ms - self._empty_since_ms >= ttl_ms

    def views(self) -> tuple[NodeView, ...]:
        """Every node that the pool is notified of, as it is now, sorted by name."""
        return tuple(node.view() for _, node in sorted((self._lost | self._members).items()))


class Membership:
    """All pools and their members."""

    def __init__(self, epoch: int, rules: PoolRules) -> None:
        """``epoch``: start time of this Registry; messages of a later one are newer."""
        self._epoch = epoch
        self._rules = rules
        self._pools: dict[str, RegisteredPool] = {}
        self._number = 0

    @property
    def pools(self) -> Mapping[str, RegisteredPool]:
        """Every pool by name."""
        return self._pools

    @property
    def next_version(self) -> MembersVersion:
        """The version of the next message to any pool."""
        return MembersVersion(self._epoch, self._number + 1)

    def has(self, node: Node) -> bool:
        """Whether this incarnation is in a pool."""
        pool = self._pools.get(node.pool)
        return pool is not None and pool.members.get(node.name) is node

    def restore(self, node: Node, pool: str, capability: Capability) -> None:
        """Put a node back into the pool where an earlier life of the Registry had it. Followed by ``restored``."""
        self._pools.setdefault(pool, RegisteredPool(pool, capability)).add(node)

    def restored(self) -> list[RegistryEffect]:
        """Every node is in its pool again: open the pools and notify each of its members.

        Not before: a pool that is notified of some of its nodes only would give up the jobs of the others.
        """
        return [effect for pool in self._pools.values() for effect in (OpenPool(pool.name), *self._notify(pool))]

    def place(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        """Put a node into the pool of what it offers now. No effects: it is there already, or offers nothing yet."""
        capability = node.capability
        if capability is None or (self.has(node) and self._pools[node.pool].capability == capability):
            return []
        left = self._leave(node, now_ms)
        pool, opened = self._pool_with_room(capability)
        pool.add(node)
        return [*left, *opened, *self._notify(pool)]

    def _leave(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        pool = self._pools.get(node.pool)
        if pool is None:
            return []
        pool.remove(node, now_ms)
        return self._notify(pool)

    def _pool_with_room(self, capability: Capability) -> tuple[RegisteredPool, list[RegistryEffect]]:
        number = 0
        while True:
            name = capability.text() + (f"#{number}" if number else "")
            pool = self._pools.get(name)
            if pool is None:
                pool = self._pools[name] = RegisteredPool(name, capability)
                return pool, [OpenPool(name), Log(f"pool {name} opens")]
            if len(pool.members) < self._rules.max_nodes_per_pool:
                return pool, []
            number += 1

    def notify(self, node: Node) -> list[RegistryEffect]:
        """A node has changed: notify its pool, if it is in one."""
        pool = self._pools.get(node.pool)
        return self._notify(pool) if pool else []

    def lose(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        """A node is lost: it leaves its pool, which is notified of that for five seconds."""
        pool = self._pools.get(node.pool)
        if pool is None:
            return []
        pool.lose(node, now_ms)
        return self._notify(pool)

    def end(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        """A drained node is gone: its pool is notified of that once, then the node is no member any more."""
        pool = self._pools.get(node.pool)
        if pool is None:
            return []
        effects = self._notify(pool)
        pool.remove(node, now_ms)
        return effects

    def tick(self, now_ms: int) -> list[RegistryEffect]:
        """Time has passed: close the pools that nobody needs, and notify the others of all their members again."""
        effects: list[RegistryEffect] = []
        for pool in [pool for pool in self._pools.values() if pool.is_idle(self._rules.pool_idle_ttl_ms, now_ms)]:
            del self._pools[pool.name]
            effects += [ClosePool(pool.name), Log(f"pool {pool.name} closes")]
        for pool in self._pools.values():
            pool.forget_lost(now_ms)
            effects += self._notify(pool)
        return effects

    def _notify(self, pool: RegisteredPool) -> list[RegistryEffect]:
        version = self.next_version
        self._number = version.number
        members = PoolMembers(
            pool=pool.name,
            epoch=version.epoch,
            number=version.number,
            capability=pool.capability,
            nodes=pool.views(),
        )
        return [NotifyPool(members)]
