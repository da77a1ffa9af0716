"""A Registry's brain with its clock, its heartbeats and what Ray lists, for tests that send it facts."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from ray_sched.core.effects import Save
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.registry_pool import PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.declarations import RayNode, declare
from ray_sched.core.nodes.effects import NotifyPool, RegistryEffect
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.ports import SaveNode
from ray_sched.core.rules import NodeRules, PoolRules
from tests.support.builders import a_beat, a_ray_node

KindT = TypeVar("KindT")
ENGLISH_POOL = "echo/asr=en"


def of(effects: Iterable[RegistryEffect], kind: type[KindT]) -> list[KindT]:
    return [effect for effect in effects if isinstance(effect, kind)]


def written(effects: Iterable[RegistryEffect]) -> dict[str, NodeRecord]:
    """Node records as the store has them now."""
    changes = [save.change for save in of(effects, Save)]
    saved = [change for change in changes if isinstance(change, SaveNode)]
    return {change.node_id: msgspec.json.decode(change.record, type=NodeRecord) for change in saved}


def members(effects: Iterable[RegistryEffect], pool: str = ENGLISH_POOL) -> PoolMembers:
    """The last thing a pool is told."""
    return [effect.members for effect in effects if isinstance(effect, NotifyPool) and effect.members.pool == pool][-1]


class RegistryHarness:
    """A RegistryBrain, the time, and what Ray lists at the moment."""

    def __init__(self, pool_rules: PoolRules | None = None, rules: NodeRules | None = None) -> None:
        self.brain = RegistryBrain(7, rules or NodeRules(), pool_rules or PoolRules())
        self.now_ms = 1_000_000
        self.listed: list[RayNode] = []
        self.acquired: dict[str, int] = {}
        """Slots of each node with a job on them, by the Dispatcher."""

    def look(self, *ray_nodes: RayNode) -> list[RegistryEffect]:
        """Ray lists these nodes."""
        self.listed = list(ray_nodes)
        return self.brain.handle_ray_nodes(self.listed, self.now_ms)

    def beat(self, beat: Heartbeat) -> list[RegistryEffect]:
        """A heartbeat that has to be current."""
        reply, effects = self.brain.handle_heartbeat(beat, self.now_ms)
        assert reply.is_current
        return effects

    def join(self, name: str = "node-a", ray_node_id: str = "ray-1") -> list[RegistryEffect]:
        """One more node, up to its first good beat."""
        self.look(*self.listed, a_ray_node(ray_node_id, name))
        return self.beat(a_beat(name, self.brain.nodes[name].incarnation))

    def wait(self, duration_ms: int, *beats: Heartbeat) -> list[RegistryEffect]:
        """Time passes in steps of at most 500 ms; these beats come at each, Ray is asked, then the tick."""
        effects: list[RegistryEffect] = []
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + 500, end_ms)
            for beat in beats:
                effects += self.brain.handle_heartbeat(beat, self.now_ms)[1]
            effects += self.brain.handle_ray_nodes(self.listed, self.now_ms)
            ticked = self.brain.tick(self.now_ms)
            for notice in of(ticked, NotifyPool):
                self.answer(notice.members)
            effects += ticked
        return effects

    def answer(self, members: PoolMembers) -> None:
        """A pool has made its offer of this, and answers how many slots have a job by the Dispatcher's receipt."""
        acquired = {view.node: self.acquired.get(view.node, 0) for view in members.nodes}
        self.brain.handle_acquired(SlotsAcquired(epoch=members.epoch, number=members.number, slots=acquired))

    def status(self, name: str = "node-a") -> NodeStatus:
        return self.brain.nodes[name].status


def a_record(node: str, ray_node_id: str, incarnation: int, *, is_drained: bool = False) -> NodeRecord:
    declaration = declare(a_ray_node(ray_node_id, node), 4)
    assert declaration
    return NodeRecord(declaration=declaration, ray_node_id=ray_node_id, incarnation=incarnation, is_drained=is_drained)
