"""The NodeRegistry's shell: asks Ray for its nodes, hears heartbeats, starts and ends agents and pools."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ray_sched.actors.retry import retry_until_answered
from ray_sched.core.effects import Log, Save
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.registry_pool import PoolMembers, SlotsAcquired
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.nodes.effects import (
    ClosePool,
    NotifyPool,
    OpenPool,
    RegistryEffect,
    SpawnAgent,
    StopAgent,
    WatchAgent,
)
from ray_sched.core.nodes.records import read_nodes
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.ports import Change, Store, StoreEmptiedError
from ray_sched.core.views.nodes import NodeRow, PoolRow
from ray_sched.wire.auth import agent_key, is_same
from ray_sched.wire.clock import Clock
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0
_FOR_EVER_S = 10 * 365 * 86_400.0


class Cluster(Protocol):
    """What the Registry needs of Ray; the room ``system`` implements it."""

    async def nodes(self) -> list[RayNode]:
        """Every node Ray knows. Raises PeerUnavailableError while Ray itself cannot say."""
        ...

    async def spawn_agent(self, spawn: SpawnAgent) -> None:
        """Start an agent on its node. Raises PeerUnavailableError if its name is still taken."""
        ...

    async def open_pool(self, pool: str) -> None:
        """Start a pool's actor, if there is none."""
        ...

    async def end_actor(self, name: str) -> None:
        """End an actor's process, whatever it is doing; nothing happens if there is none."""
        ...


class NodeRegistry:
    """Actor ``registry``: the only writer of nodes."""

    def __init__(
        self, brain: RegistryBrain, store: Store, directory: Directory, cluster: Cluster, secret: bytes = b""
    ) -> None:
        """``secret``: the scheduler's, see ``wire.seals``."""
        self._brain = brain
        self._store = store
        self._directory = directory
        self._cluster = cluster
        self._secret = secret
        self._clock = Clock()
        self._commits: Outbox[Sequence[Change], None] = Outbox(self._commit)
        self._pools: dict[str, Outbox[PoolMembers, None]] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._spent: dict[str, int] = {}
        self._is_asking_ray = False
        self._saving_all: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return "registry"

    async def restore(self) -> None:
        """Take up the nodes that an earlier life knew, before anything else; their agents go on meanwhile."""
        await retry_until_answered(self._store.vouch)
        records = await retry_until_answered(self._store.load_nodes)
        read = read_nodes(records.values())
        if read.n_left_out:
            log.error(read.sentence("nodes"))
        await self._perform(self._brain.restore(read.readable, self._clock.now_ms()))

    async def beat(self, raw: bytes) -> bytes:
        """Take an agent's heartbeat; answer whether it is current: at once, for a store that is away kills no node."""
        beat = decode(raw, Heartbeat)
        if not is_same(beat.key, agent_key(self._secret, beat.node, beat.incarnation)):
            raise SchedError(Code.UNAUTHENTICATED, f"this heartbeat is not from the agent of {beat.node!r}")
        reply, effects = self._brain.handle_heartbeat(beat, self._clock.now_ms())
        if effects:
            self._begin(self._perform(effects))
        return encode(reply)

    async def tick(self, what: str) -> None:
        """The Timer's ticks: ``poll`` asks Ray for its nodes, ``watch`` looks for silence and idle pools.

        ``store`` asks after the store. None waits for it: while it is away, nodes die and come all the same.
        """
        match what:
            case "poll":
                await self._look_at_ray()
            case "store":
                if self._commits.is_idle:
                    self._commits.put(())
            case _:
                self._begin(self._perform(self._brain.tick(self._clock.now_ms())))

    async def _look_at_ray(self) -> None:
        """Take in Ray's nodes. While Ray's head process is away it cannot say, which is no word about any node."""
        if self._is_asking_ray:
            return
        self._is_asking_ray = True
        try:
            ray_nodes = await self._cluster.nodes()
        except PeerUnavailableError as error:
            log.warning("Ray does not say which nodes there are: %s", error)
            return
        finally:
            self._is_asking_ray = False
        self._begin(self._perform(self._brain.handle_ray_nodes(ray_nodes, self._clock.now_ms())))

    async def drain(self, node: str, deadline_ms: int | None) -> None:
        """Let a node finish what it has and leave. Raises SchedError UNKNOWN_NODE."""
        effects = self._brain.drain(node, deadline_ms, self._clock.now_ms())
        if effects is None:
            known = ", ".join(sorted(self._brain.nodes)) or "none"
            raise SchedError(Code.UNKNOWN_NODE, f"there is no living node {node!r}; nodes: {known}")
        await self._perform(effects)

    async def ping(self) -> None:
        """Answer."""

    async def nodes(self) -> list[NodeRow]:
        """Every node, as people see it."""
        now_ms = self._clock.now_ms()
        return [NodeRow.of(node, self._spent.get(name, 0), now_ms) for name, node in sorted(self._brain.nodes.items())]

    async def pools(self) -> list[PoolRow]:
        """Every pool, as people see it."""
        return [PoolRow.of(pool) for _, pool in sorted(self._brain.pools.items())]

    # --- effects ---------------------------------------------------------------------------------------------------

    async def _perform(self, effects: list[RegistryEffect]) -> None:
        """Save first, then do."""
        changes = [effect.change for effect in effects if isinstance(effect, Save)]
        if changes:
            await self._commits.ask(changes)
        for effect in effects:
            self._do(effect)

    def _do(self, effect: RegistryEffect) -> None:
        match effect:
            case SpawnAgent():
                self._begin(self._spawn_agent(effect))
            case WatchAgent():
                self._begin(self._watch_agent(effect.node, effect.incarnation, effect.agent))
            case StopAgent():
                self._begin(self._cluster.end_actor(effect.agent))
            case OpenPool():
                self._opening[effect.pool] = self._begin(self._cluster.open_pool(f"pool:{effect.pool}"))
            case ClosePool():
                self._begin(self._close_pool(effect.pool))
            case NotifyPool():
                self._notify_pool(effect.members)
            case Log():
                log.info(effect.text)
            case Save():
                pass

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work of the registry failed: %r", error)

    async def _spawn_agent(self, spawn: SpawnAgent) -> None:
        try:
            await self._cluster.spawn_agent(spawn)
        except PeerUnavailableError as error:
            await self._agent_died(spawn.node, spawn.incarnation, str(error))
            return
        await self._watch_agent(spawn.node, spawn.incarnation, spawn.agent)

    async def _watch_agent(self, node: str, incarnation: int, agent: str) -> None:
        """Wait for the end of an agent: a dead process is noticed at once, not by missing heartbeats."""
        try:
            await self._directory.peer(agent).call("wait_until_over", timeout_s=_FOR_EVER_S)
            why = "its agent has ended"
        except (PeerGoneError, PeerUnavailableError) as error:
            why = f"its agent died: {error}"
        await self._agent_died(node, incarnation, why)

    async def _agent_died(self, node: str, incarnation: int, why: str) -> None:
        await self._perform(self._brain.agent_died(node, incarnation, why, self._clock.now_ms()))

    def _notify_pool(self, members: PoolMembers) -> None:
        name = members.pool
        if name not in self._pools:
            self._pools[name] = Outbox(self._sender(name), on_lost=lambda _members, _error: None)
        self._pools[name].put(members)

    def _sender(self, pool: str) -> Callable[[list[PoolMembers]], Awaitable[Sequence[None]]]:
        async def send(members: list[PoolMembers]) -> list[None]:
            """Send the newest word, which says everything."""
            if pool in self._opening:
                await self._opening.pop(pool)
            peer = self._directory.peer(f"pool:{pool}")
            raw = await peer.call("members", encode(members[-1]), timeout_s=_CALL_TIMEOUT_S)
            told = decode(raw, SlotsAcquired)
            self._brain.handle_acquired(told)
            self._spent |= told.spent
            self._spent = {node: n for node, n in self._spent.items() if node in self._brain.nodes}
            return [None] * len(members)

        return send

    async def _close_pool(self, pool: str) -> None:
        outbox = self._pools.pop(pool, None)
        if outbox:
            await outbox.close()
        await self._cluster.end_actor(f"pool:{pool}")
        await self._directory.peer("dispatcher").call("pool_closed", pool, timeout_s=_CALL_TIMEOUT_S)

    async def _commit(self, turns: list[Sequence[Change]]) -> list[None]:
        """Write node records; repeat until the store has them."""
        changes = [change for turn in turns for change in turn]
        try:
            await retry_until_answered(lambda: self._store.commit(changes))
        except StoreEmptiedError as error:
            self._save_all(error)
        return [None] * len(turns)

    def _save_all(self, emptied: StoreEmptiedError) -> None:
        """The store has taken these changes and lost all before them: what the brain knows is written again."""
        if self._saving_all is None:
            log.error("%s; all is written again", emptied)
            self._saving_all = self._begin(self._vouch_after(self._perform(self._brain.store_was_emptied())))

    async def _vouch_after(self, saved: Awaitable[None]) -> None:
        await saved
        await retry_until_answered(self._store.vouch)
        self._saving_all = None
