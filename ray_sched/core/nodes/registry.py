"""The NodeRegistry's brain: which nodes there are, how they are, and which pool each belongs to.

Told what Ray sees, what agents say and that time has passed; answers with agents and pools to start and end, and with
what each pool has to know. It owns nodes; it never sees jobs.
"""

import re
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ray_sched.core.capability import LABEL_PREFIX, Capability, Name
from ray_sched.core.effects import (
    ClosePool,
    Log,
    NotifyPool,
    OpenPool,
    RegistryEffect,
    Save,
    SpawnAgent,
    StopAgent,
    WatchAgent,
)
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.fields import MAX_SLOTS
from ray_sched.core.messages.registry_pool import NodeView, PoolMembers, SlotsAcquired
from ray_sched.core.node_status import NodeEvent, NodeStatus
from ray_sched.core.nodes.node import Declaration, Node, NodeRecord
from ray_sched.core.ports import ForgetNode, SaveNode
from ray_sched.core.rules import NodeRules, PoolRules

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_PAIR = re.compile(rf"({_LANGUAGE.pattern})_({_LANGUAGE.pattern})")
_NUMBER = re.compile(r"[0-9]{1,4}")
_MAX_RESPAWN_DELAY_MS = 30_000
_REMEMBER_DEAD_MS = 600_000
_NOTIFY_LOST_MS = 5_000
_DEAD = frozenset({NodeStatus.LOST, NodeStatus.GONE})
_encode = msgspec.json.Encoder().encode


class RayNode(Struct, frozen=True, kw_only=True):
    """A node as Ray lists it."""

    ray_node_id: str
    labels: dict[str, str]
    has_gpu: bool = False
    is_alive: bool = True
    is_draining: bool = False
    """Ray itself drains the node."""
    drain_ends_in_ms: int | None = None
    """How long Ray leaves it then; None: Ray names no end."""


class BadLabelError(ValueError):
    """A node's labels do not say what a node can do; the sentence names the label."""


def declare(ray_node: RayNode, default_slots: int) -> Declaration | None:
    """What the labels declare, or None for a node that is not ours. Raises BadLabelError."""
    labels = {k.removeprefix(LABEL_PREFIX): v for k, v in ray_node.labels.items() if k.startswith(LABEL_PREFIX)}
    engine = labels.get("engine")
    if not engine:
        return None
    _check_names(labels, "engine", "tenant", "node")
    capability = Capability(
        engine=engine,
        asr=_languages(labels, "asr"),
        mt=_pairs(labels),
        tts=_languages(labels, "tts"),
        tenant=labels.get("tenant", ""),
        has_gpu=ray_node.has_gpu,
    )
    return Declaration(
        node=labels.get("node") or f"node-{ray_node.ray_node_id[:8]}",
        engine=engine,
        capability=capability,
        slots=_slots(labels, default_slots),
        options={k.removeprefix("option."): v for k, v in labels.items() if k.startswith("option.")},
    )


def _check_names(labels: dict[str, str], *names: str) -> None:
    """These become names of actors and keys in Redis. Ray allows nothing else in a label; this does not rely on it."""
    for name in names:
        try:
            msgspec.convert(labels.get(name) or "none", Name)
        except (msgspec.ValidationError, UnicodeError):
            raise BadLabelError(f"{LABEL_PREFIX}{name}={labels[name][:80]!r} is not a name such as node-1") from None


def _slots(labels: dict[str, str], default_slots: int) -> int:
    text = labels.get("slots", str(default_slots))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_SLOTS:
        raise BadLabelError(f"{LABEL_PREFIX}slots={text[:80]!r} must be a number from 1 to {MAX_SLOTS}")
    return int(text)


def _languages(labels: dict[str, str], name: str) -> tuple[str, ...]:
    tags = [tag for tag in labels.get(name, "").split(".") if tag]
    for tag in tags:
        if not _LANGUAGE.fullmatch(tag):
            raise BadLabelError(
                f"{LABEL_PREFIX}{name}={labels[name][:80]!r}: {tag[:80]!r} is not a language tag such as en"
            )
    return tuple(sorted(set(tags)))


def _pairs(labels: dict[str, str]) -> tuple[str, ...]:
    pairs = []
    for text in filter(None, labels.get("mt", "").split(".")):
        match = _PAIR.fullmatch(text)
        if not match:
            raise BadLabelError(f"{LABEL_PREFIX}mt={labels['mt'][:80]!r}: {text[:80]!r} is not a pair such as en_es")
        source, target = text.split("_")
        pairs.append(f"{source}:{target}")
    return tuple(sorted(set(pairs)))


class Respawn(NamedTuple):
    """When an agent is started again on a node that lost one."""

    at_ms: int
    delay_ms: int


class Pool:
    """A pool as the Registry sees it: its name, capability and members."""

    def __init__(self, name: str, capability: Capability) -> None:
        self.name = name
        self.capability = capability
        self.nodes: set[str] = set()
        self.lost: dict[str, Node] = {}
        """Members lost a moment ago: told for a while, since a single word of it may get lost itself."""
        self.empty_since_ms: int | None = None


class RegistryBrain:
    """Decides about nodes. One per cluster; its shell hands it one fact at a time."""

    def __init__(self, epoch: int, rules: NodeRules, pool_rules: PoolRules) -> None:
        self._epoch = epoch
        self._rules = rules
        self._pool_rules = pool_rules
        self.nodes: dict[str, Node] = {}
        self.pools: dict[str, Pool] = {}
        self._incarnations: dict[str, int] = {}
        self._drained: set[tuple[str, str]] = set()
        self._away_since: dict[tuple[str, str], int] = {}
        """Drained machines that Ray lists no more."""
        self._records: dict[str, NodeRecord] = {}
        """What the store holds."""
        self._respawn: dict[str, Respawn] = {}
        self._complaints: dict[str, str] = {}
        self._declared: dict[str, tuple[tuple[dict[str, str], bool], Declaration | None]] = {}
        self._number = 0

    # --- facts -----------------------------------------------------------------------------------------------------

    def restore(self, records: list[NodeRecord], now_ms: int) -> list[RegistryEffect]:
        """Take over what an earlier life had stored. Agents that still beat stay what they are.

        One that does not beat within ``lost_after_ms`` is lost, and its node gets a new incarnation. Every node is in
        its pool at once: a pool that is told of some of its nodes only would give up the jobs of the others.
        """
        effects: list[RegistryEffect] = []
        for record in records:
            name = record.declaration.node
            self._incarnations[name] = record.incarnation
            self._records[name] = record
            if record.is_drained:
                self._drained.add((name, record.ray_node_id))
                if not record.pool:
                    continue
            node = self.nodes[name] = Node(record.declaration, record.ray_node_id, record.incarnation, now_ms)
            node.is_restored = True
            self._restore_place(node, record)
            if record.is_drained:
                node.move(NodeEvent.DRAIN)
                node.drain_ends_at_ms = now_ms + self._rules.drain_deadline_ms
                node.drain_version = (self._epoch, 1)
            effects.append(WatchAgent(name, record.incarnation, node.agent))
        for pool in self.pools:
            effects += [OpenPool(pool), *self._notify_pool(pool)]
        return effects

    def _restore_place(self, node: Node, record: NodeRecord) -> None:
        if record.capability and record.pool:
            node.capability, node.pool = record.capability, record.pool
            pool = self.pools.setdefault(record.pool, Pool(record.pool, record.capability))
            pool.nodes.add(node.declaration.node)

    def handle_ray_nodes(self, ray_nodes: list[RayNode], now_ms: int) -> list[RegistryEffect]:
        """Ray's list of nodes: agents for new ones, the end of those that left."""
        effects: list[RegistryEffect] = []
        alive: dict[str, RayNode] = {}
        ours = {node.ray_node_id for node in self.nodes.values() if node.status is not NodeStatus.GONE}
        for ray_node in sorted(ray_nodes, key=lambda it: it.ray_node_id not in ours):  # who has a name keeps it
            declaration = self._declaration(ray_node, effects)
            if declaration and ray_node.is_alive:
                taken = alive.setdefault(declaration.node, ray_node)
                if taken is ray_node:
                    effects += self._handle_declared(declaration, ray_node, now_ms)
                else:
                    effects += self._complain(ray_node.ray_node_id, f"two nodes are called {declaration.node}")
        for node in list(self.nodes.values()):
            if node.status not in _DEAD and node.declaration.node not in alive:
                effects += self._lose(node, NodeEvent.DIED, "Ray says that the node is dead", now_ms)
                self._respawn.pop(node.declaration.node, None)
        listed = {ray_node.ray_node_id for ray_node in ray_nodes if ray_node.is_alive}
        self._complaints = {it: what for it, what in self._complaints.items() if it in listed}
        self._declared = {it: what for it, what in self._declared.items() if it in listed}
        return effects + self._forget_drained(listed, now_ms)

    def _forget_drained(self, listed: set[str], now_ms: int) -> list[RegistryEffect]:
        """A drained machine that Ray has not listed for ten minutes never comes back under this id of Ray's."""
        away = [it for it in self._drained if it[1] not in listed and it[0] not in self.nodes]
        self._away_since = {it: self._away_since.get(it, now_ms) for it in away}
        effects: list[RegistryEffect] = []
        for name, ray_node_id in [it for it in away if now_ms - self._away_since[it] >= _REMEMBER_DEAD_MS]:
            self._drained.discard((name, ray_node_id))
            self._incarnations.pop(name, None)
            if self._records.pop(name, None):
                effects.append(Save(ForgetNode(node_id=name)))
        return effects

    def handle_heartbeat(self, beat: Heartbeat, now_ms: int) -> tuple[BeatReply, list[RegistryEffect]]:
        """An agent's heartbeat. One that is not current is told so, and ends itself."""
        node = self.nodes.get(beat.node)
        if node is None or node.incarnation != beat.incarnation or node.status in _DEAD:
            return BeatReply(is_current=False), []
        before = (node.status, node.capability)
        node.handle(beat, now_ms)
        effects: list[RegistryEffect] = []
        if node.capability and node.status is not NodeStatus.REGISTERING:
            effects += self._place(node)
        if (node.status, node.capability) != before:
            effects.append(Log(f"{beat.node} is {node.status}{f': {node.why}' if node.why else ''}"))
            effects += self._notify_pool(node.pool)
            self._respawn.pop(beat.node, None)
        return BeatReply(is_current=True, is_draining=node.status is NodeStatus.DRAINING), effects

    def agent_died(self, name: str, incarnation: int, why: str, now_ms: int) -> list[RegistryEffect]:
        """The process of an agent has ended, or could not be started."""
        node = self.nodes.get(name)
        if node is None or node.incarnation != incarnation or node.status in _DEAD:
            return []
        node.has_died = True
        return self._lose(node, NodeEvent.DIED, why, now_ms)

    def drain(self, name: str, deadline_ms: int | None, now_ms: int) -> list[RegistryEffect] | None:
        """A node takes no new work, finishes what it has, and is gone. None: there is no such node."""
        node = self.nodes.get(name)
        if node is None or not node.move(NodeEvent.DRAIN):
            return None
        node.drain_ends_at_ms = now_ms + (deadline_ms if deadline_ms is not None else self._rules.drain_deadline_ms)
        node.drain_version = (self._epoch, self._number + 1)
        self._drained.add((name, node.ray_node_id))
        return [Log(f"{name} is draining"), self._save(node), *self._notify_pool(node.pool)]

    def handle_acquired(self, told: SlotsAcquired) -> None:
        """A pool's word on what is spent: whether the Dispatcher, told of a node's drain, still has jobs on it."""
        for name, n_acquired in told.spent.items():
            node = self.nodes.get(name)
            if node and node.status is NodeStatus.DRAINING and (told.epoch, told.number) >= node.drain_version:
                node.may_have_jobs = n_acquired > 0

    def store_was_emptied(self) -> list[RegistryEffect]:
        """The store has lost what it held: write all of it again."""
        return [Save(SaveNode(node_id=name, record=_encode(record))) for name, record in self._records.items()]

    def tick(self, now_ms: int) -> list[RegistryEffect]:
        """Time has passed: silence, drains that are done, agents to start again, pools nobody needs."""
        effects: list[RegistryEffect] = []
        for node in list(self.nodes.values()):
            effects += self._watch(node, now_ms)
        effects += self._close_idle_pools(now_ms)
        for name, pool in self.pools.items():
            pool.lost = {it: node for it, node in pool.lost.items() if now_ms - node.gone_at_ms < _NOTIFY_LOST_MS}
            effects += self._notify_pool(name)
        return effects

    # --- decisions -------------------------------------------------------------------------------------------------

    def _declaration(self, ray_node: RayNode, effects: list[RegistryEffect]) -> Declaration | None:
        """What a node declares. Labels are read once: Ray tells of all nodes four times a second."""
        facts, known = self._declared.get(ray_node.ray_node_id, (None, None))
        if facts == (ray_node.labels, ray_node.has_gpu):
            return known
        try:
            known = declare(ray_node, self._rules.default_slots)
        except BadLabelError as error:
            effects += self._complain(ray_node.ray_node_id, str(error))
            return None
        self._declared[ray_node.ray_node_id] = ((ray_node.labels, ray_node.has_gpu), known)
        return known

    def _complain(self, ray_node_id: str, what: str) -> list[RegistryEffect]:
        """Say it once, not four times a second."""
        if self._complaints.get(ray_node_id) == what:
            return []
        self._complaints[ray_node_id] = what
        return [Log(f"Ray node {ray_node_id[:8]} is left out: {what}")]

    def _handle_declared(self, declaration: Declaration, ray_node: RayNode, now_ms: int) -> list[RegistryEffect]:
        name = declaration.node
        node = self.nodes.get(name)
        effects: list[RegistryEffect] = []
        if node and node.ray_node_id != ray_node.ray_node_id and node.status not in _DEAD:
            effects += self._lose(node, NodeEvent.DIED, "another Ray node has taken its name", now_ms)
        if node and node.status not in _DEAD:
            if ray_node.is_draining and node.status is not NodeStatus.DRAINING:
                return self.drain(name, ray_node.drain_ends_in_ms, now_ms) or []
            return []
        is_resting = name in self._respawn and now_ms < self._respawn[name].at_ms
        if (name, ray_node.ray_node_id) in self._drained or is_resting or ray_node.is_draining:
            return effects
        return effects + self._spawn(declaration, ray_node.ray_node_id, now_ms)

    def _spawn(self, declaration: Declaration, ray_node_id: str, now_ms: int) -> list[RegistryEffect]:
        name = declaration.node
        incarnation = self._incarnations.get(name, 0) + 1
        self._incarnations[name] = incarnation
        node = self.nodes[name] = Node(declaration, ray_node_id, incarnation, now_ms)
        spawn = SpawnAgent(
            node=name,
            incarnation=incarnation,
            agent=node.agent,
            ray_node_id=ray_node_id,
            slots=declaration.slots,
            engine=declaration.engine,
            options=declaration.options,
            declared=msgspec.json.encode(declaration.capability),
        )
        return [self._save(node), spawn, Log(f"{name} joins as incarnation {incarnation}")]

    def _save(self, node: Node) -> Save:
        name = node.declaration.node
        record = self._records[name] = NodeRecord(
            declaration=node.declaration,
            ray_node_id=node.ray_node_id,
            incarnation=node.incarnation,
            is_drained=self._is_drained(node),
            capability=node.capability,
            pool=node.pool if self._is_in_pool(node) else "",
        )
        return Save(SaveNode(node_id=name, record=_encode(record)))

    def _is_drained(self, node: Node) -> bool:
        return (node.declaration.node, node.ray_node_id) in self._drained

    def _is_in_pool(self, node: Node) -> bool:
        pool = self.pools.get(node.pool)
        return pool is not None and node.declaration.node in pool.nodes

    def _watch(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        if node.status in _DEAD:
            return self._forget(node) if now_ms - node.gone_at_ms >= _REMEMBER_DEAD_MS else []
        if node.status is NodeStatus.DRAINING and (node.is_empty or now_ms >= node.drain_ends_at_ms):
            return self._finish_drain(node, now_ms)
        if not node.last_beat_at_ms:
            rules = self._rules
            if now_ms - node.started_at_ms >= (rules.lost_after_ms if node.is_restored else rules.start_timeout_ms):
                return self._lose(node, NodeEvent.TOO_LONG_SILENT, "no first heartbeat", now_ms)
            return []
        silent_ms = now_ms - node.last_beat_at_ms
        if silent_ms >= self._rules.lost_after_ms:
            return self._lose(node, NodeEvent.TOO_LONG_SILENT, f"silent for {silent_ms} ms", now_ms)
        if silent_ms >= self._rules.suspect_after_ms and node.status is not NodeStatus.SUSPECT:
            node.move(NodeEvent.SILENT)
            return self._notify_pool(node.pool)
        return []

    def _finish_drain(self, node: Node, now_ms: int) -> list[RegistryEffect]:
        """The drained node is gone; one whose deadline has passed takes its jobs with it, to be run elsewhere."""
        left = f", {node.running} jobs left at its deadline" if node.running else ""
        node.move(NodeEvent.EMPTY)
        node.gone_at_ms = now_ms
        effects = self._notify_pool(node.pool)
        self._leave(node, now_ms)
        return [self._save(node), *effects, StopAgent(node.agent), Log(f"{node.declaration.node} is drained{left}")]

    def _lose(self, node: Node, event: NodeEvent, why: str, now_ms: int) -> list[RegistryEffect]:
        node.move(event)
        node.why = why
        node.gone_at_ms = now_ms
        name = node.declaration.node
        self._leave(node, now_ms)
        if node.pool in self.pools:
            self.pools[node.pool].lost[name] = node
        effects = self._notify_pool(node.pool)
        if self._is_drained(node):
            effects = [self._save(node), *effects]
        if node.is_restored and not node.last_beat_at_ms and event is NodeEvent.DIED:
            return [*effects, Log(f"{name} did not outlive the registry: {why}")]
        last = self._respawn.get(name)
        delay_ms = min(last.delay_ms * 2, _MAX_RESPAWN_DELAY_MS) if last else self._rules.respawn_delay_ms
        self._respawn[name] = Respawn(now_ms + delay_ms, delay_ms)
        return [*effects, StopAgent(node.agent), Log(f"{name} is lost: {why}")]

    def _forget(self, node: Node) -> list[RegistryEffect]:
        """A node that was lost or drained long ago is shown no more; a drained one stays drained."""
        name = node.declaration.node
        del self.nodes[name]
        if self._is_drained(node):
            return []
        self._incarnations.pop(name, None)
        self._records.pop(name, None)
        return [Save(ForgetNode(node_id=name))]

    # --- pools -----------------------------------------------------------------------------------------------------

    def _place(self, node: Node) -> list[RegistryEffect]:
        """Put a node into the pool of its capability; a full pool opens the next one."""
        capability = node.capability
        if capability is None or (node.pool and self.pools[node.pool].capability == capability):
            return []
        self._leave(node, node.last_beat_at_ms)
        left = self._notify_pool(node.pool)
        pool, effects = self._pool_with_room(capability)
        pool.nodes.add(node.declaration.node)
        pool.lost.pop(node.declaration.node, None)
        pool.empty_since_ms = None
        node.pool = pool.name
        return [self._save(node), *left, *effects, *self._notify_pool(pool.name)]

    def _pool_with_room(self, capability: Capability) -> tuple[Pool, list[RegistryEffect]]:
        number = 0
        while True:
            name = capability.text() + (f"#{number}" if number else "")
            pool = self.pools.get(name)
            if pool is None:
                pool = self.pools[name] = Pool(name, capability)
                return pool, [OpenPool(name), Log(f"pool {name} opens")]
            if len(pool.nodes) < self._pool_rules.max_nodes_per_pool:
                return pool, []
            number += 1

    def _leave(self, node: Node, now_ms: int) -> None:
        pool = self.pools.get(node.pool)
        if pool:
            pool.nodes.discard(node.declaration.node)
            if not pool.nodes:
                pool.empty_since_ms = now_ms

    def _close_idle_pools(self, now_ms: int) -> list[RegistryEffect]:
        ttl_ms = self._pool_rules.pool_idle_ttl_ms
        idle = [p for p in self.pools.values() if p.empty_since_ms is not None and now_ms - p.empty_since_ms >= ttl_ms]
        for pool in idle:
            del self.pools[pool.name]
        return [effect for pool in idle for effect in (ClosePool(pool.name), Log(f"pool {pool.name} closes"))]

    def _notify_pool(self, name: str) -> list[RegistryEffect]:
        """Tell a pool all of its members as they are now."""
        pool = self.pools.get(name)
        if pool is None:
            return []
        self._number += 1
        members = pool.lost | {name: self.nodes[name] for name in pool.nodes}
        told = PoolMembers(
            pool=name,
            epoch=self._epoch,
            number=self._number,
            capability=pool.capability,
            nodes=tuple(self._view(node) for _, node in sorted(members.items())),
        )
        return [NotifyPool(told)]

    def _view(self, node: Node) -> NodeView:
        beat = node.beat
        return NodeView(
            node=node.declaration.node,
            incarnation=node.incarnation,
            agent=node.agent,
            status=str(node.status),
            slots=node.declaration.slots,
            running=node.running,
            why=node.why,
            has_died=node.has_died,
            **({"load": beat.load} if beat else {}),
        )
