"""The Registry's and the pools' shells in virtual time, as ``ray_sched/actors`` has them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ray_sched.core.effects import AnswerPool, DispatchEffect, PoolClosed, PoolOffered, Save
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.pool_dispatcher import PoolOffer
from ray_sched.core.messages.registry_pool import PoolMembers
from ray_sched.core.nodes.effects import (
    ClosePool,
    NotifyPool,
    OpenPool,
    RegistryEffect,
    SpawnAgent,
    StopAgent,
    WatchAgent,
)
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.rules import NodeRules, PoolRules
from tests.simulation.agent import Agent
from tests.simulation.network import Reply

if TYPE_CHECKING:
    from tests.simulation.world import World


class Registry:
    """Actor ``registry``: the real brain; it saves before it acts, and can be lost at any moment."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.pools: dict[str, PoolBrain] = {}
        """Actors of their own: they outlive the Registry."""
        self.is_up = False
        self.n_lives = 0
        self.start()

    # --- its lives

    def start(self) -> None:
        """Begin, with what is on the disk, as soon as it is there."""
        disk = self._world.dispatcher.disk
        if self._world.net.now_ms < disk.is_away_until_ms:
            self._world.net.after(disk.is_away_until_ms - self._world.net.now_ms, self.start)
            return
        self.n_lives += 1
        self.brain = RegistryBrain(self._world.net.now_ms, NodeRules(), PoolRules())
        self.is_up = True
        nodes = self._world.dispatcher.disk.nodes
        records = [msgspec.json.decode(record, type=NodeRecord) for record in nodes.values()]
        self._world.note("", f"registry begins with {len(records)} nodes")
        self._perform(self.brain.restore(records, self._world.net.now_ms))

    def crash(self) -> None:
        """The process is gone, with what it had decided and not done."""
        if self.is_up and "registry" not in self._world.dispatcher.disk.is_emptied_for:  # both at once are not promised
            self.is_up = False
            self.n_lives += 1
            self._world.note("", "registry crashes")
            self._world.net.after(self._world.rng.randint(500, 2_000), self.start)

    def crash_pool(self, name: str) -> None:
        """A pool's process is gone; a new one knows nothing until the Registry speaks."""
        if self.pools.pop(name, None):
            self._world.note("", f"pool {name} crashes")
            delay_ms = self._world.rng.randint(500, 2_000)
            self._world.net.after(delay_ms, lambda: self._begin_pool(name))

    def _begin_pool(self, name: str) -> None:
        self.pools.setdefault(name, PoolBrain(name, self._world.net.now_ms, PoolRules()))

    # --- what it is told

    def look(self) -> None:
        """Ray's list of nodes."""
        if self.is_up:
            self._perform(self.brain.handle_ray_nodes(list(self._world.ray_nodes.values()), self._world.net.now_ms))

    def tick(self) -> None:
        """Time has passed."""
        if not self.is_up:
            return
        emptied_for = self._world.dispatcher.disk.is_emptied_for
        if "registry" in emptied_for:
            self._perform(self.brain.store_was_emptied(), lambda: emptied_for.discard("registry"))
        self._perform(self.brain.tick(self._world.net.now_ms))

    def drain(self, name: str) -> None:
        """Somebody drains a node."""
        if self.is_up:
            self._perform(self.brain.drain(name, 5_000, self._world.net.now_ms) or [])

    def handle_heartbeat(self, beat: Heartbeat, reply: Reply[BeatReply]) -> None:
        """A heartbeat."""
        if self.is_up:
            answer, effects = self.brain.handle_heartbeat(beat, self._world.net.now_ms)
            self._perform(effects, lambda: reply(answer))

    # --- what it does

    def _perform(self, effects: list[RegistryEffect], then: Callable[[], None] = lambda: None) -> None:
        """Save first, then do."""
        life = self.n_lives
        changes = [effect.change for effect in effects if isinstance(effect, Save)]

        def saved() -> None:
            if life == self.n_lives:
                self._world.dispatcher.disk.commit(changes)
                for effect in effects:
                    self._do(effect)
                then()

        delay_ms = self._world.commit_ms() if changes else 0
        if delay_ms:
            self._world.net.after(delay_ms, saved)
        else:
            saved()

    def _do(self, effect: RegistryEffect) -> None:
        match effect:
            case SpawnAgent():
                self._world.note("", f"{effect.agent} is started as incarnation {effect.incarnation}")
                self._world.net.after(self._world.rng.randint(50, 500), self._spawning(effect))
            case WatchAgent():
                self._watch(effect.node, effect.incarnation, effect.agent)
            case StopAgent():
                self._world.stop_agent(effect.agent)
            case OpenPool():
                self._begin_pool(effect.pool)
            case ClosePool():
                self.pools.pop(effect.pool, None)
                self._world.net.post(lambda: self._world.dispatcher.handle(PoolClosed(effect.pool)))
            case NotifyPool():
                self._notify_pool(effect.members)
            case _:
                pass

    def _spawning(self, effect: SpawnAgent) -> Callable[[], None]:
        life = self.n_lives

        def spawn() -> None:
            if effect.agent in self._world.agents or effect.node not in self._world.ray_nodes:
                self._died(life, effect.node, effect.incarnation, "its name is still taken or its node is gone")
                return
            self._world.agents[effect.agent] = Agent(self._world, effect)
            if life == self.n_lives:
                self._watch(effect.node, effect.incarnation, effect.agent)

        return spawn

    def _watch(self, node: str, incarnation: int, agent_name: str) -> None:
        life = self.n_lives
        agent = self._world.agents.get(agent_name)
        if agent:
            agent.watchers.append(lambda: self._died(life, node, incarnation, "its agent died"))
        else:
            self._world.net.after(10, lambda: self._died(life, node, incarnation, "there is no such agent"))

    def _died(self, life: int, node: str, incarnation: int, why: str) -> None:
        if self.is_up and life == self.n_lives:
            self._perform(self.brain.agent_died(node, incarnation, why, self._world.net.now_ms))

    def _notify_pool(self, members: PoolMembers) -> None:
        def arrive() -> None:
            pool = self.pools.get(members.pool)
            offer = pool.handle_members(members) if pool else None
            if pool and offer:
                self._world.net.post(
                    lambda: self._world.dispatcher.handle(PoolOffered(offer), lambda e: receipt(pool, offer, e))
                )
            if pool:
                acquired = pool.acquired
                self._world.net.post(lambda: self.brain.handle_acquired(acquired) if self.is_up else None)

        def receipt(pool: PoolBrain, offer: PoolOffer, effects: list[DispatchEffect]) -> None:
            told = next(effect.receipt for effect in effects if isinstance(effect, AnswerPool))
            self._world.net.post(lambda: pool.handle_receipt(offer, told))

        self._world.net.post(arrive)
