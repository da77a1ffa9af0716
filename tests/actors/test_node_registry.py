"""The Registry's shell with a fake Ray, by sending it ticks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from ray_sched.actors.node_registry import NodeRegistry
from ray_sched.actors.pool import Pool
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.leases.pool import PoolBrain
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.nodes.declarations import RayNode
from ray_sched.core.nodes.effects import SpawnAgent
from ray_sched.core.nodes.profiles import Profile
from ray_sched.core.nodes.records import NodeRecord
from ray_sched.core.nodes.registry import RegistryBrain
from ray_sched.core.ports import SaveNode
from ray_sched.core.rules import NodeRules, PoolRules
from ray_sched.wire.auth import agent_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.peers import PeerUnavailableError
from tests.support.in_process import MemoryStore, Network

CAPABILITY = Capability(engine="echo", asr=("en",))
LABELS = {"ray-sched.io/engine": "echo", "ray-sched.io/asr": "en", "ray-sched.io/node": "a", "ray-sched.io/slots": "2"}


class FakeAgent:
    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def wait_until_ended(self) -> None:
        await self.over.wait()


class FakeDispatcher:
    def __init__(self) -> None:
        self.offers: list[PoolOffer] = []
        self.n_acquired = 0

    async def offer(self, raw: bytes) -> bytes:
        self.offers.append(decode(raw, PoolOffer))
        return encode(LeaseReceipt(acquired={"a": self.n_acquired}))


class FakeRay:
    def __init__(self, network: Network) -> None:
        self._network = network
        self.listed = [RayNode(ray_node_id="f" * 56, labels=LABELS)]
        self.spawned: list[SpawnAgent] = []
        self.ended: list[str] = []
        self.profile: Profile | Exception = {}
        self.asked_for: list[tuple[str, str]] = []
        self.is_silent = False
        self.n_asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def nodes(self) -> list[RayNode]:
        self.n_asked += 1
        await self.may_answer.wait()
        if self.is_silent:
            raise PeerUnavailableError("the test has taken its head away")
        return self.listed

    async def spawn_agent(self, spawn: SpawnAgent) -> None:
        self.spawned.append(spawn)
        self._network.actors[spawn.agent] = FakeAgent()

    async def read_profile(self, ray_node_id: str, profile: str) -> Profile:
        self.asked_for.append((ray_node_id, profile))
        if isinstance(self.profile, Exception):
            raise self.profile
        return self.profile

    async def open_pool(self, pool: str) -> None:
        brain = PoolBrain(pool.removeprefix("pool:"), 1, PoolRules())
        self._network.actors[pool] = Pool(brain, self._network)

    async def end_actor(self, name: str) -> None:
        self.ended.append(name)


class World:
    def __init__(self) -> None:
        self.network = Network()
        self.ray = FakeRay(self.network)
        self.store = MemoryStore()
        self.dispatcher = FakeDispatcher()
        self.network.actors["dispatcher"] = self.dispatcher
        brain = RegistryBrain(1, NodeRules(respawn_delay_ms=1), PoolRules())
        self.registry = NodeRegistry(brain, self.store, self.network, self.ray)

    async def beat(self, incarnation: int = 1) -> BeatReply:
        beat = Heartbeat(
            node="a",
            incarnation=incarnation,
            key=agent_key(b"", "a", incarnation),
            is_loaded=True,
            is_healthy=True,
            capability=CAPABILITY,
        )
        return decode(await self.registry.beat(encode(beat)), BeatReply)

    async def join(self) -> None:
        await self.registry.tick("poll")
        await until(lambda: "agent:a" in self.network.actors)
        await self.beat()
        await until(lambda: self.dispatcher.offers)


async def until(is_so: Callable[[], Any], tick: Callable[[], Awaitable[None]] | None = None) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            if tick:
                await tick()
            await asyncio.sleep(0.002)


async def test_a_labelled_node_gets_an_agent_is_saved_and_its_slots_are_offered() -> None:
    world = World()
    await world.join()
    assert [(spawn.node, spawn.incarnation, spawn.slots) for spawn in world.ray.spawned] == [("a", 1, 2)]
    offer = world.dispatcher.offers[-1]
    assert [(node.node, node.slots, node.why) for node in offer.nodes] == [("a", 2, None)]
    saved = [change for commit in world.store.commits for change in commit]
    assert isinstance(saved[0], SaveNode)
    assert msgspec.json.decode(saved[0].record, type=NodeRecord).incarnation == 1


async def test_the_death_of_an_agents_process_is_noticed_at_once_and_a_new_incarnation_started() -> None:
    world = World()
    await world.join()
    world.network.actors["agent:a"].over.set()
    await until(lambda: len(world.ray.spawned) == 2, lambda: world.registry.tick("poll"))
    assert world.ray.spawned[1].incarnation == 2
    assert "agent:a" in world.ray.ended
    assert not (await world.beat(incarnation=1)).is_current
    assert (await world.beat(incarnation=2)).is_current


async def test_a_drained_node_is_offered_no_more_ends_and_stays_away() -> None:
    world = World()
    await world.join()
    await world.registry.drain("a", None)
    assert (await world.beat()).is_draining
    world.dispatcher.n_acquired = 1
    await until(lambda: world.dispatcher.offers[-1].nodes[0].slots == 0)

    async def beat_and_watch() -> None:
        await world.beat()
        await world.registry.tick("watch")

    for _ in range(10):
        await beat_and_watch()
    assert world.ray.ended == [], "a job is still on its way to it"
    world.dispatcher.n_acquired = 0
    await until(lambda: "agent:a" in world.ray.ended, beat_and_watch)
    await world.registry.tick("poll")
    assert len(world.ray.spawned) == 1
    assert [(row.node, row.status) for row in await world.registry.nodes()] == [("a", "gone")]


async def test_draining_a_node_that_is_not_there_names_those_that_are() -> None:
    world = World()
    await world.join()
    with pytest.raises(SchedError, match="no living node 'b'; nodes: a") as error:
        await world.registry.drain("b", None)
    assert error.value.code is Code.UNKNOWN_NODE


async def test_the_slots_that_the_dispatcher_has_acquired_are_shown_with_the_node() -> None:
    world = World()
    world.dispatcher.n_acquired = 1
    await world.join()
    async with asyncio.timeout(5):
        while (await world.registry.nodes())[0].acquired != 1:
            await world.registry.tick("watch")
            await asyncio.sleep(0.002)
    (pool,) = await world.registry.pools()
    assert (pool.pool, pool.nodes, pool.slots) == ("echo/asr=en", ("a",), 2)


async def test_heartbeats_are_answered_and_deaths_noticed_while_the_store_is_away() -> None:
    world = World()
    await world.registry.tick("poll")
    await until(lambda: "agent:a" in world.network.actors)
    world.store.is_down = True
    async with asyncio.timeout(5):
        assert (await world.beat()).is_current  # its place in a pool waits to be saved
        await world.registry.tick("watch")
        world.network.actors["agent:a"].over.set()
        while (await world.registry.nodes())[0].status != "lost":  # noqa: ASYNC110  # the registry tells nobody
            await asyncio.sleep(0.002)


async def test_a_ray_that_cannot_list_its_nodes_says_nothing_about_them() -> None:
    world = World()
    await world.join()
    world.ray.is_silent = True
    await world.registry.tick("poll")
    assert [(row.node, row.status) for row in await world.registry.nodes()] == [("a", "ready")]
    world.ray.is_silent = False
    world.ray.listed = []
    await until(lambda: "agent:a" in world.ray.ended, lambda: world.registry.tick("poll"))
    assert [(row.node, row.status) for row in await world.registry.nodes()] == [("a", "lost")]


async def test_ray_is_not_asked_again_while_it_has_not_answered() -> None:
    world = World()
    world.ray.may_answer.clear()
    asking = asyncio.create_task(world.registry.tick("poll"))
    await asyncio.sleep(0)
    await world.registry.tick("poll")
    assert world.ray.n_asked == 1
    world.ray.may_answer.set()
    await asking
    await world.registry.tick("poll")
    assert world.ray.n_asked == 2


async def test_nodes_are_written_again_into_a_store_that_was_emptied() -> None:
    world = World()
    await world.registry.restore()
    await world.join()
    world.store.empty()
    await world.registry.tick("store")
    await until(lambda: world.store.is_vouched_for)
    (saved,) = [change for commit in world.store.commits for change in commit]
    assert isinstance(saved, SaveNode)
    assert (saved.node_id, msgspec.json.decode(saved.record, type=NodeRecord).incarnation) == ("a", 1)


PROFILED = {"ray-sched.io/profile": "two", "ray-sched.io/node": "box"}
TWO: Profile = {"first": {"engine": "echo", "asr": "en"}, "second": {"engine": "echo", "asr": "es"}}


async def test_the_profile_that_a_machine_s_label_names_is_read_there_and_its_engines_started() -> None:
    world = World()
    world.ray.listed = [RayNode(ray_node_id="f" * 56, labels=PROFILED)]
    world.ray.profile = TWO
    await until(lambda: len(world.ray.spawned) == 2, lambda: world.registry.tick("poll"))
    assert world.ray.asked_for == [("f" * 56, "two")]
    assert {spawn.agent for spawn in world.ray.spawned} == {"agent:box/first", "agent:box/second"}


@pytest.mark.parametrize(
    "error",
    [
        SchedError(Code.INVALID_CONFIGURATION, "p.yaml has no profile 'two'; there is one"),
        PeerUnavailableError("p.yaml has no profile 'two'; there is one"),
    ],
)
async def test_a_machine_whose_profile_cannot_be_read_is_left_out_with_the_reason(error: Exception) -> None:
    world = World()
    world.ray.listed = [RayNode(ray_node_id="f" * 56, labels=PROFILED)]
    world.ray.profile = error
    async with asyncio.timeout(5):
        while not (rows := await world.registry.nodes()):
            await world.registry.tick("poll")
            await asyncio.sleep(0.002)
    assert [(row.node, row.status, row.why) for row in rows] == [
        ("node-ffffffff", "left out", "p.yaml has no profile 'two'; there is one")
    ]
    assert (world.ray.spawned, len(world.ray.asked_for)) == ([], 1)
