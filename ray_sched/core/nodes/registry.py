"""The NodeRegistry's brain: from what Ray lists, what agents report and the time it decides about nodes.

It answers with agents and pools to start and to end, what is to be saved, and what each pool has to know. It owns
which nodes there are; declarations, drains, health, records and membership are owned by the modules beside it. It
never sees a job.
"""

from collections.abc import Mapping

from ray_sched.core.effects import Log, Save
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.registry_pool import SlotsAcquired
from ray_sched.core.node_status import NodeEvent, NodeStatus
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.nodes.drains import DrainedMachines, named_by
from ray_sched.core.nodes.effects import ReadProfile, RegistryEffect, SpawnAgent, StopAgent, WatchAgent
from ray_sched.core.nodes.health import Respawns, judge_silence
from ray_sched.core.nodes.listing import Declarations, Declared, LeftOut
from ray_sched.core.nodes.membership import Membership, RegisteredPool
from ray_sched.core.nodes.node import Node
from ray_sched.core.nodes.profiles import Profile
from ray_sched.core.nodes.records import NodeRecord, SavedNodes
from ray_sched.core.rules import NodeRules, PoolRules
from ray_sched.core.thresholds import reached

_SHOW_ENDED_MS = 600_000


class RegistryBrain:
    """Decides about nodes. One per cluster; its shell hands it one fact at a time."""

    def __init__(
        self, epoch: int, rules: NodeRules, pool_rules: PoolRules, profiles: Mapping[str, Profile] | None = None
    ) -> None:
        """``epoch``: start time of this Registry; messages of a later one to pools are newer.

        ``profiles``: those of the settings.
        """
        self._rules = rules
        self._pool_rules = pool_rules
        self.nodes: dict[str, Node] = {}
        """The newest incarnation of each node by name, also of those that ended less than ten minutes ago."""
        self._membership = Membership(epoch, pool_rules)
        self._declarations = Declarations(rules.default_slots, profiles)
        self._drained = DrainedMachines()
        self._respawns = Respawns(rules.respawn_delay_ms)
        self._saved = SavedNodes()

    @property
    def pools(self) -> Mapping[str, RegisteredPool]:
        """Every pool by name."""
        return self._membership.pools

    @property
    def left_out(self) -> list[LeftOut]:
        """Ray's nodes that declare something and cannot join, and why, sorted by Ray's id."""
        return sorted(self._declarations.left_out.values())

    def threshold_reached(self, node: Node) -> str:
        """Which threshold keeps new work from a node that is ready; empty: none. Its pool decides the same."""
        is_ready = node.status is NodeStatus.READY
        return reached(node.beat.load, self._pool_rules) if is_ready and node.beat else ""

    # --- facts -----------------------------------------------------------------------------------------------------

    def restore(self, records: list[NodeRecord], now_ms: int) -> list[RegistryEffect]:
        """Take over what an earlier life had stored. Agents that still beat stay what they are.

        One that does not beat within ``lost_after_ms`` is lost, and its node gets a new incarnation.
        """
        effects: list[RegistryEffect] = []
        for record in records:
            self._saved.restore(record)
            if record.is_drained:
                self._drained.add(record.declaration.node, record.ray_node_id)
            if record.pool or not record.is_drained:
                effects.append(self._take_over(record, now_ms))
        return effects + self._membership.restored()

    def _take_over(self, record: NodeRecord, now_ms: int) -> WatchAgent:
        node = Node(record.declaration, record.ray_node_id, record.incarnation, now_ms, is_restored=True)
        self.nodes[node.name] = node
        if record.capability and record.pool:
            self._membership.restore(node, record.pool, record.capability)
        if record.is_drained:
            node.begin_drain(now_ms + self._rules.drain_deadline_ms, self._membership.next_version)
        return WatchAgent(node.name, node.incarnation, node.agent)

    def handle_ray_nodes(self, ray_nodes: list[RayNode], now_ms: int) -> list[RegistryEffect]:
        """Ray's whole list of nodes: agents for new ones, the end of those that left."""
        in_use = {node.ray_node_id for node in self.nodes.values() if node.status is not NodeStatus.GONE}
        declared, complaints = self._declarations.handle_ray_nodes(ray_nodes, in_use)
        effects: list[RegistryEffect] = [*complaints]
        for one in declared.values():
            effects += self._handle_declared(one, now_ms)
        undecided = self._declarations.undecided
        for node in list(self.nodes.values()):
            if not node.has_ended and node.name not in declared and node.ray_node_id not in undecided:
                effects += self._lose(node, NodeEvent.DIED, "Ray says that the node is dead", now_ms)
                self._respawns.forgive(node.name)
        listed = {ray_node.ray_node_id for ray_node in ray_nodes if ray_node.is_alive}
        for name, ray_node_id in self._drained.forget_absent(listed, self.nodes, now_ms):
            effects += self._saved.forget(name, ray_node_id)
        wanted = self._declarations.profiles.take_wanted(listed, now_ms)
        return effects + [ReadProfile(ray_node_id=ray_node_id, profile=name) for ray_node_id, name in wanted]

    def profile_read(self, ray_node_id: str, profile: Profile) -> None:
        """The file on a Ray node has this profile: its engines join with Ray's next list."""
        self._declarations.profiles.handle_read(ray_node_id, profile)

    def profile_failed(self, ray_node_id: str, why: str) -> None:
        """A Ray node has no such profile, or none that can be used: the node is left out, and it is read again."""
        self._declarations.profiles.handle_failed(ray_node_id, why)

    def handle_heartbeat(self, beat: Heartbeat, now_ms: int) -> tuple[BeatReply, list[RegistryEffect]]:
        """An agent's heartbeat. One of an incarnation that has ended is answered so, and its agent ends itself."""
        node = self.nodes.get(beat.node)
        if node is None or node.incarnation != beat.incarnation or node.has_ended:
            return BeatReply(is_current=False), []
        before = (node.status, node.capability)
        node.handle_heartbeat(beat, now_ms)
        effects: list[RegistryEffect] = []
        if node.status is not NodeStatus.REGISTERING:
            effects += self._place(node, now_ms)
        if (node.status, node.capability) != before:
            effects.append(Log(f"{node.name} is {node.status}{f': {node.why}' if node.why else ''}"))
            effects += self._membership.notify(node)
            self._respawns.forgive(node.name)
        is_draining = node.status is NodeStatus.DRAINING
        return BeatReply(is_current=True, is_draining=is_draining, siblings=self._siblings(node)), effects

    def _siblings(self, node: Node) -> tuple[int, ...]:
        """The processes of the agents that serve the same machine: only an engine of a profile has any."""
        if "/" not in node.name:
            return ()
        others = (it for it in self.nodes.values() if it.ray_node_id == node.ray_node_id and it is not node)
        return tuple(sorted(it.beat.pid for it in others if it.beat and it.beat.pid and not it.has_ended))

    def agent_died(self, name: str, incarnation: int, why: str, now_ms: int) -> list[RegistryEffect]:
        """The process of an agent has ended, or could not be started."""
        node = self.nodes.get(name)
        if node is None or node.incarnation != incarnation or node.has_ended:
            return []
        return self._lose(node, NodeEvent.DIED, why, now_ms, has_died=True)

    def drain(self, name: str, deadline_ms: int | None, now_ms: int) -> list[RegistryEffect] | None:
        """A node takes no new work, finishes what it has, and is gone. None: there is no living node of this name.

        A machine's name means all of its engines. ``deadline_ms``: from now, by which it is gone whatever it has; None:
        the rules' own.
        """
        duration_ms = self._rules.drain_deadline_ms if deadline_ms is None else deadline_ms
        effects: list[RegistryEffect] = []
        for node in [self.nodes[it] for it in named_by(name, self.nodes)]:
            if node.begin_drain(now_ms + duration_ms, self._membership.next_version):
                self._drained.add(node.name, node.ray_node_id)
                effects += [Log(f"{node.name} is draining"), self._save(node), *self._membership.notify(node)]
        return effects or None

    def undrain(self, name: str) -> list[RegistryEffect] | None:
        """A drained node takes work again: at once if it has not left, else with its next incarnation.

        None: no node of this name was drained.
        """
        effects: list[RegistryEffect] = []
        for drained in named_by(name, self._drained.names):
            self._drained.discard(drained)
            effects += [Log(f"{drained} may be used again"), *self._saved.undrain(drained)]
            node = self.nodes.get(drained)
            if node and node.call_off_drain():
                effects += self._membership.notify(node)
        return effects or None

    def handle_acquired(self, reply: SlotsAcquired) -> None:
        """A pool's answer: on how many slots of its nodes the Dispatcher has jobs."""
        for name, n_acquired in reply.slots.items():
            if node := self.nodes.get(name):
                node.handle_acquired(reply.version, n_acquired)

    def store_was_emptied(self) -> list[RegistryEffect]:
        """The store has lost what it held: write all of it again."""
        return [*self._saved.save_all()]

    def tick(self, now_ms: int) -> list[RegistryEffect]:
        """Time has passed: silence, drains that are over, nodes to forget, pools nobody needs."""
        effects: list[RegistryEffect] = []
        for node in list(self.nodes.values()):
            effects += self._watch(node, now_ms)
        return effects + self._membership.tick(now_ms)

    # --- decisions -------------------------------------------------------------------------------------------------

    def _handle_declared(self, declared: Declared, now_ms: int) -> list[RegistryEffect]:
        ray_node, name = declared.ray_node, declared.declaration.node
        node = self.nodes.get(name)
        effects: list[RegistryEffect] = []
        if node and not node.has_ended and node.ray_node_id != ray_node.ray_node_id:
            effects += self._lose(node, NodeEvent.DIED, "another Ray node has taken its name", now_ms)
        if node and not node.has_ended:
            if ray_node.is_draining and node.status is not NodeStatus.DRAINING:
                return self.drain(name, ray_node.drain_ends_in_ms, now_ms) or []
            return []
        is_drained = (name, ray_node.ray_node_id) in self._drained
        if is_drained or ray_node.is_draining or self._respawns.is_resting(name, now_ms):
            return effects
        return effects + self._spawn(declared, now_ms)

    def _spawn(self, declared: Declared, now_ms: int) -> list[RegistryEffect]:
        declaration, ray_node_id = declared.declaration, declared.ray_node.ray_node_id
        incarnation = self._saved.next_incarnation(declaration.node)
        before = self.nodes.get(declaration.node)
        node = self.nodes[declaration.node] = Node(declaration, ray_node_id, incarnation, now_ms)
        asks = f"its agent asks Ray for {declaration.held}" if str(declaration.held) else ""
        again = f"starts again: {before.why}" if before and before.status is NodeStatus.LOST else ""
        node.why = "; ".join(filter(None, (again, asks))) or "its agent is starting"
        spawn = SpawnAgent(
            node=node.name,
            incarnation=incarnation,
            agent=node.agent,
            ray_node_id=ray_node_id,
            slots=declaration.slots,
            engine=declaration.engine,
            options=declaration.options,
            held=declaration.held,
            declared=declaration.capability,
            offer=declaration.offer,
        )
        return [self._save(node), spawn, Log(f"{node.name} joins as incarnation {incarnation}")]

    def _place(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        placed = self._membership.place(node, now_ms)
        return [self._save(node), *placed] if placed else []

    def _watch(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        if node.has_ended:
            return self._forget(node) if now_ms - node.ended_at_ms >= _SHOW_ENDED_MS else []
        if node.has_drained(now_ms):
            return self._end_drain(node, now_ms)
        verdict = judge_silence(node, self._rules, now_ms)
        if verdict is None:
            return []
        if verdict.event is NodeEvent.SILENT:
            node.move(verdict.event)
            return self._membership.notify(node)
        return self._lose(node, verdict.event, verdict.why, now_ms)

    def _end_drain(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        """The drained node is gone; one whose deadline has passed takes its jobs with it, to be run elsewhere."""
        left = f", {node.running} jobs left at its deadline" if node.running else ""
        node.end_drain(now_ms)
        notified = self._membership.end(node, now_ms)
        return [self._save(node), *notified, StopAgent(node.agent), Log(f"{node.name} is drained{left}")]

    def _lose(
        self, node: Node, event: NodeEvent, why: str, now_ms: int, *, has_died: bool = False
    ) -> list[RegistryEffect]:
        node.lose(event, why, now_ms, has_died=has_died)
        effects = self._membership.lose(node, now_ms)
        if self._is_drained(node):
            effects = [self._save(node), *effects]
        if node.is_restored and not node.has_beaten and event is NodeEvent.DIED:
            return [*effects, Log(f"{node.name} did not outlive the registry: {why}")]
        self._respawns.handle_lost(node.name, now_ms)
        return [*effects, StopAgent(node.agent), Log(f"{node.name} is lost: {why}")]

    def _forget(self, node: Node) -> list[RegistryEffect]:
        """A node that ended long ago is shown no more; a drained one stays drained."""
        del self.nodes[node.name]
        return [] if self._is_drained(node) else [*self._saved.forget(node.name, node.ray_node_id)]

    def _is_drained(self, node: Node) -> bool:
        return (node.name, node.ray_node_id) in self._drained

    def _save(self, node: Node) -> Save:
        return self._saved.save(
            NodeRecord(
                declaration=node.declaration,
                ray_node_id=node.ray_node_id,
                incarnation=node.incarnation,
                is_drained=self._is_drained(node),
                capability=node.capability,
                pool=node.pool if self._membership.has(node) else "",
            )
        )
