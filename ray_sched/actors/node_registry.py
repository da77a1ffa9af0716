"""The NodeRegistry's shell: asks Ray for its nodes, handles heartbeats, starts and ends agents and pools.

Every step decides, saves, then does. Heartbeats are answered and Ray is asked whatever the store does: while it is
away, nodes die and come all the same, and what follows waits to be saved.
"""

import logging
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Protocol, assert_never

from ray_sched.actors.background import Background
from ray_sched.actors.commits import Commits
from ray_sched.actors.metrics import ActorMetrics
from ray_sched.actors.pool_peers import PoolPeers, PoolStarter
from ray_sched.actors.retry import retry_until_answered
from ray_sched.core.effects import Log, Save
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_registry import Heartbeat
from ray_sched.core.messages.registry_pool import SlotsAcquired
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.nodes.effects import (
    ClosePool,
    NotifyPool,
    OpenPool,
    ReadProfile,
    RegistryEffect,
    SpawnAgent,
    StopAgent,
    WatchAgent,
)
from ray_sched.core.nodes.profiles import Profile
from ray_sched.core.nodes.records import read_nodes
from ray_sched.core.ports import Store
from ray_sched.core.views.nodes import NodeRow, PoolRow
from ray_sched.observe.registry import registry_samples
from ray_sched.observe.samples import Sample, WriteSamples, write_nothing
from ray_sched.wire.auth import agent_key, is_same
from ray_sched.wire.clock import Clock
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.peers import Directory, PeerGoneError, PeerUnavailableError

if TYPE_CHECKING:  # who calls the Registry imports this, too, and needs no brain
    from ray_sched.core.nodes.registry import RegistryBrain

log = logging.getLogger(__name__)

_FOR_EVER_S = 10 * 365 * 86_400.0


class Cluster(PoolStarter, Protocol):
    """What the Registry needs of Ray; the package ``system`` implements it."""

    async def nodes(self) -> list[RayNode]:
        """Every node Ray knows. Raises PeerUnavailableError while Ray itself cannot list them."""
        ...

    async def spawn_agent(self, spawn: SpawnAgent) -> None:
        """Start an agent on its node. Raises PeerUnavailableError if its name is still taken."""
        ...

    async def read_profile(self, ray_node_id: str, profile: str) -> Profile:
        """A profile out of the file on that node. Raises SchedError with what is wrong, or PeerUnavailableError."""
        ...


class NodeRegistry:
    """Actor ``registry``: the only writer of nodes."""

    def __init__(
        self,
        brain: "RegistryBrain",
        store: Store,
        directory: Directory,
        cluster: Cluster,
        secret: bytes = b"",
        write_samples: WriteSamples = write_nothing,
    ) -> None:
        """``secret``: the scheduler's, see ``wire.auth``; ``write_samples`` is given all metrics at each tick."""
        self._brain = brain
        self._store = store
        self._directory = directory
        self._cluster = cluster
        self._secret = secret
        self._clock = Clock()
        self._background = Background("registry")
        self._commits = Commits(store, self, self._background)
        self._metrics = ActorMetrics("registry", self._commits, write_samples)
        self._pools = PoolPeers(directory, cluster, self._background, self._handle_acquired, secret)
        self._acquired: dict[str, int] = {}
        """Slots of each node with a job on them, by its pool's last answer; for people."""
        self._is_asking_ray = False

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
        """Handle an agent's heartbeat; reply whether it is current: at once, for a store that is away kills no node.

        Raises UNAUTHENTICATED if it is not of the agent that it names.
        """
        beat = decode(raw, Heartbeat)
        if not is_same(beat.key, agent_key(self._secret, beat.node, beat.incarnation)):
            raise SchedError(Code.UNAUTHENTICATED, f"this heartbeat is not from the agent of {beat.node!r}")
        reply, effects = self._brain.handle_heartbeat(beat, self._clock.now_ms())
        if effects:
            self._background.begin(self._perform(effects))
        return encode(reply)

    async def tick(self, what: str) -> None:
        """The Timer's ticks: ``poll`` asks Ray for its nodes, ``watch`` looks for silence and idle pools.

        ``store`` asks after the store. None waits for it: while it is away, nodes die and come all the same.
        """
        match what:
            case "poll":
                await self._ask_ray()
            case "store":
                self._commits.probe()
            case "metrics":
                self._metrics.write(self._samples())
            case _:
                self._background.begin(self._perform(self._brain.tick(self._clock.now_ms())))

    async def _ask_ray(self) -> None:
        """Hand the brain Ray's list of nodes. While Ray's head process is away there is none: no fact about a node."""
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
        self._background.begin(self._perform(self._brain.handle_ray_nodes(ray_nodes, self._clock.now_ms())))

    async def metrics(self) -> list[Sample]:
        """All that this actor exports."""
        return self._metrics.read(self._samples())

    def _samples(self) -> Iterator[Sample]:
        return registry_samples(self._brain.nodes.values(), self._clock.now_ms())

    async def drain(self, node: str, deadline_ms: int | None) -> None:
        """Let a node finish what it has and leave, within so long. Raises SchedError UNKNOWN_NODE."""
        effects = self._brain.drain(node, deadline_ms, self._clock.now_ms())
        if effects is None:
            known = ", ".join(sorted(self._brain.nodes)) or "none"
            raise SchedError(Code.UNKNOWN_NODE, f"there is no living node {node!r}; nodes: {known}")
        await self._perform(effects)

    async def undrain(self, node: str) -> None:
        """Give a drained node work again. Raises SchedError UNKNOWN_NODE for one that was not drained."""
        effects = self._brain.undrain(node)
        if effects is None:
            raise SchedError(Code.UNKNOWN_NODE, f"no node {node!r} was drained; ray-sched nodes lists them all")
        await self._perform(effects)

    async def ping(self) -> None:
        """Return: whoever starts the scheduler waits for it, since nothing returns before ``restore`` is done."""

    async def nodes(self) -> list[NodeRow]:
        """Every node, as people see it; then those that cannot join."""
        now_ms, nodes = self._clock.now_ms(), sorted(self._brain.nodes.items())
        brain, acquired = self._brain, self._acquired
        rows = [NodeRow.of(node, acquired.get(name, 0), now_ms, brain.threshold_reached(node)) for name, node in nodes]
        return rows + [NodeRow.of_left_out(one) for one in brain.left_out]

    async def pools(self) -> list[PoolRow]:
        """Every pool, as people see it."""
        return [PoolRow.of(pool) for _, pool in sorted(self._brain.pools.items())]

    # --- the store, while a commit is under way --------------------------------------------------------------------

    def handle_store_away(self) -> None:
        """Nodes go on; what is decided about them waits to be saved."""

    def handle_store_back(self) -> None:
        """What waited is saved."""

    def handle_store_emptied(self) -> Awaitable[None]:
        """All that is known of nodes has to be written again; done when it is."""
        return self._perform(self._brain.store_was_emptied())

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
                self._background.begin(self._spawn_agent(effect))
            case ReadProfile():
                self._background.begin(self._read_profile(effect.ray_node_id, effect.profile))
            case WatchAgent():
                self._background.begin(self._watch_agent(effect.node, effect.incarnation, effect.agent))
            case StopAgent():
                self._background.begin(self._cluster.end_actor(effect.agent))
            case OpenPool():
                self._pools.open(effect.pool)
            case ClosePool():
                self._pools.close(effect.pool)
            case NotifyPool():
                self._pools.notify(effect.members)
            case Log():
                log.info(effect.text)
            case Save():
                pass  # done before
            case _:
                assert_never(effect)

    async def _spawn_agent(self, spawn: SpawnAgent) -> None:
        try:
            await self._cluster.spawn_agent(spawn)
        except PeerUnavailableError as error:
            await self._agent_died(spawn.node, spawn.incarnation, str(error))
            return
        await self._watch_agent(spawn.node, spawn.incarnation, spawn.agent)

    async def _read_profile(self, ray_node_id: str, name: str) -> None:
        try:
            profile = await self._cluster.read_profile(ray_node_id, name)
        except (SchedError, PeerUnavailableError) as error:
            self._brain.profile_failed(ray_node_id, str(error))
        else:
            self._brain.profile_read(ray_node_id, profile)

    async def _watch_agent(self, node: str, incarnation: int, agent: str) -> None:
        """Wait for the end of an agent: a dead process is noticed at once, not by missing heartbeats."""
        try:
            await self._directory.peer(agent).call("wait_until_ended", timeout_s=_FOR_EVER_S)
            why = "its agent has ended"
        except (PeerGoneError, PeerUnavailableError) as error:
            why = f"its agent died: {error}"
        await self._agent_died(node, incarnation, why)

    async def _agent_died(self, node: str, incarnation: int, why: str) -> None:
        await self._perform(self._brain.agent_died(node, incarnation, why, self._clock.now_ms()))

    def _handle_acquired(self, reply: SlotsAcquired) -> None:
        """A pool's answer to its members. Nodes that are shown no more are forgotten here, too."""
        self._brain.handle_acquired(reply)
        known = self._acquired | reply.slots
        self._acquired = {node: n_slots for node, n_slots in known.items() if node in self._brain.nodes}
