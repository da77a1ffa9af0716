"""The real shells in one event loop: real Dispatcher, agents and clients, with a dictionary as the network."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

from msgspec import structs

from ray_sched.actors.dispatcher import Dispatcher, DispatcherOptions
from ray_sched.agent.agent import NodeAgent
from ray_sched.agent.engine_run import Host
from ray_sched.agent.host import EngineHost
from ray_sched.client.client import Client
from ray_sched.client.options import ClientOptions
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import Capability
from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.registry_pool import NodeView, PoolMembers
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.ports import Change, StoreDownError, StoreEmptiedError
from ray_sched.core.rules import CleanupRules, DeliveryRules, DispatchRules, PoolRules, SelectionRules
from ray_sched.observe.samples import WriteSamples, write_nothing
from ray_sched.wire.auth import pool_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.peers import Payload, Peer, PeerGoneError, PeerUnavailableError
from tests.support.engines import MACHINE

ENGLISH = Capability(engine="echo", asr=("en",))


class MemoryStore:
    """Keeps what was committed; can be away, and can be emptied."""

    def __init__(self) -> None:
        self.commits: list[list[Change]] = []
        self.is_down = False
        self.is_vouched_for = False
        self._has_vouched = False

    async def vouch(self) -> None:
        await asyncio.sleep(0)
        self._check()
        self._has_vouched = self.is_vouched_for = True

    async def commit(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(0)
        self._check()
        if changes:
            self.commits.append(list(changes))
        if self._has_vouched and not self.is_vouched_for:
            raise StoreEmptiedError("the test emptied it")

    def empty(self) -> None:
        """All that was committed is lost."""
        self.commits.clear()
        self.is_vouched_for = False

    def _check(self) -> None:
        if self.is_down:
            raise StoreDownError("the test took it away")

    async def load_jobs(self) -> AsyncIterator[bytes]:
        for _ in ():
            yield b""

    async def load_nodes(self) -> dict[str, bytes]:
        return {}

    async def load_speeds(self) -> dict[str, dict[str, float]]:
        return {}

    async def ping(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass


class Network:
    """Actors by name. ``lose_requests`` and ``lose_replies``: how many calls of a method get lost on either way."""

    def __init__(self) -> None:
        self.actors: dict[str, Any] = {}
        self.lose_requests: dict[str, int] = {}
        self.lose_replies: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def peer(self, actor: str) -> Peer:
        return _NetworkPeer(self, actor)

    def take_fault(self, faults: dict[str, int], method: str) -> bool:
        faults[method] = faults.get(method, 0) - 1
        return faults[method] >= 0


class _NetworkPeer:
    def __init__(self, network: Network, actor: str) -> None:
        self._network = network
        self._actor = actor

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        network = self._network
        network.calls[method] = network.calls.get(method, 0) + 1
        await asyncio.sleep(0)
        actor = network.actors.get(self._actor)
        if actor is None:
            raise PeerGoneError(f"there is no actor {self._actor!r}")
        if network.take_fault(network.lose_requests, method):
            raise PeerUnavailableError(f"{method} got lost")
        async with asyncio.timeout(timeout_s):
            reply = await getattr(actor, method)(*args)
        if network.take_fault(network.lose_replies, method):
            raise PeerUnavailableError(f"the answer to {method} got lost")
        return reply


class MemoryObjectStore:
    """An object is the list of payloads itself."""

    def put(self, payloads: Sequence[Payload]) -> Any:
        return list(payloads)


class Registry:
    """Answers that every incarnation is current, and remembers the last heartbeat of each node."""

    def __init__(self) -> None:
        self.beats: dict[str, Heartbeat] = {}

    async def beat(self, raw: bytes) -> bytes:
        beat = decode(raw, Heartbeat)
        self.beats[beat.node] = beat
        return encode(BeatReply(is_current=True))


class InProcess:
    """One Dispatcher, its agents and any number of clients. Use with ``async with``."""

    def __init__(
        self,
        dispatch: DispatchRules | None = None,
        delivery: DeliveryRules | None = None,
        store: MemoryStore | None = None,
        write_samples: WriteSamples = write_nothing,
    ) -> None:
        self._write_samples = write_samples
        self.network = Network()
        self.store = store or MemoryStore()
        self.registry = Registry()
        self._rules = (dispatch or DispatchRules(), delivery or DeliveryRules(), SelectionRules())
        self.replace_dispatcher("boot")
        self.network.actors["registry"] = self.registry
        self._agents: list[NodeAgent] = []
        self._views: dict[str, NodeView] = {}
        self._pool = PoolBrain("pool", 1, PoolRules(lease_term_ms=60_000))
        self._n_words = 0
        self._capability = ENGLISH

    def replace_dispatcher(self, epoch: str) -> None:
        """A Dispatcher that knows nothing, in the place of the one before."""
        self.brain = DispatchBrain(epoch, *self._rules)
        options = DispatcherOptions(
            epoch=epoch, cleanup=CleanupRules(), store_wait_s=0.2, write_samples=self._write_samples
        )
        self.dispatcher = Dispatcher(self.brain, self.store, self.network, options)
        self.network.actors["dispatcher"] = self.dispatcher

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *what: object) -> None:
        for agent in self._agents:
            await agent.stop()

    async def add_node(
        self,
        name: str,
        *,
        slots: int = 4,
        capability: Capability = ENGLISH,
        engine: str = "echo",
        host: Host | None = None,
        within_s: float = 5,
        **options: str,
    ) -> NodeAgent:
        """A node with the echo engine, another one, or a host of the test's own; ready and leased."""
        host = host or EngineHost(engine, capability, options, slots, MACHINE)
        agent = NodeAgent(
            AgentOptions(node=name, incarnation=1, slots=slots), host, self.network, 20, end_process=lambda: None
        )
        self._agents.append(agent)
        self.network.actors[f"agent:{name}"] = agent
        async with asyncio.timeout(within_s):
            while name not in self.registry.beats or not self.registry.beats[name].is_loaded:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        self._capability = capability
        await self.say_of_node(name, NodeStatus.READY, slots)
        return agent

    async def say_of_node(self, name: str, status: NodeStatus, slots: int = 4) -> None:
        """What the Registry would tell the pool, and the pool the Dispatcher."""
        self._views[name] = NodeView(node=name, incarnation=1, agent=f"agent:{name}", status=status, slots=slots)
        self._n_words += 1
        members = PoolMembers(
            pool="pool", epoch=1, number=self._n_words, capability=self._capability, nodes=tuple(self._views.values())
        )
        offer = self._pool.handle_members(members)
        assert offer is not None
        await self.dispatcher.offer(encode(structs.replace(offer, key=pool_key(b"", offer.pool))))

    def client(self, **options: Any) -> Client:
        """A client of this system."""
        return Client(self.network, MemoryObjectStore(), ClientOptions(**options))
