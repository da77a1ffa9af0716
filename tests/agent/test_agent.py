"""The agent's shell: what it does with the orders of its brain, and how it reports."""

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from ray_sched.agent.agent import NodeAgent
from ray_sched.agent.engine import EngineResult, Work
from ray_sched.core.agent.options import AgentOptions
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.agent_dispatcher import (
    AgentBatch,
    AgentMessage,
    AgentOrders,
    RunAccepted,
    RunFinished,
    RunRefused,
    RunStopped,
    StopRun,
)
from ray_sched.core.messages.agent_registry import BeatReply, Heartbeat
from ray_sched.core.messages.client_agent import Push, PushItem
from ray_sched.wire.auth import agent_key, attempt_token
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.samples import Samples
from tests.support.in_process import Network

KEY = agent_key(b"", "a", 1)
AUDIO = np.arange(16_000, dtype=np.int16)


class Dispatcher:
    """Collects reports; may refuse a batch."""

    def __init__(self) -> None:
        self.reports: list[AgentMessage] = []
        self.refuses = 0

    async def agent(self, raw: bytes) -> None:
        if self.refuses:
            self.refuses -= 1
            raise SchedError(Code.INVALID_MESSAGE, "no")
        self.reports += decode(raw, AgentBatch).messages


class Registry:
    """Says whether the agent is current."""

    is_current = True

    def __init__(self) -> None:
        self.beats: list[Heartbeat] = []

    async def beat(self, raw: bytes) -> bytes:
        self.beats.append(decode(raw, Heartbeat))
        return encode(BeatReply(is_current=self.is_current))


class Host:
    """Notes what it is given; runs wait until they may end."""

    why_unhealthy = ""
    progress = ""
    is_stuck = False
    ignores_cancelling = False

    def __init__(self) -> None:
        self.begun: list[tuple[str, Samples]] = []
        self.may_end = asyncio.Event()
        self.is_loaded = asyncio.Event()
        self.loads_in_s = 0.0
        self.loads_within_s = 0
        self.beats_before_start = 0
        self.registry = Registry()

    async def start(self) -> None:
        self.beats_before_start = len(self.registry.beats)

    async def stop(self) -> None: ...

    def capability(self) -> Capability:
        return Capability(engine="test", asr=("en",))

    def admit(self, work: Work) -> str | None:
        del work
        return None

    async def run(
        self, work: Work, audio: Samples, emit_partial: Callable[[str], None], handle_loaded: Callable[[], None]
    ) -> EngineResult:
        self.begun.append((work.job_id, audio))
        if self.loads_in_s:
            await self.is_loaded.wait()
            handle_loaded()
        emit_partial("some")
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            if self.ignores_cancelling:
                await self.may_end.wait()
            raise
        return EngineResult(text="all")


class World:
    """One agent between fakes."""

    def __init__(self) -> None:
        self.network = Network()
        self.dispatcher = self.network.actors["dispatcher"] = Dispatcher()
        self.registry = self.network.actors["registry"] = Registry()
        self.host = Host()
        self.host.registry = self.registry
        self.has_ended = asyncio.Event()
        options = AgentOptions(node="a", incarnation=1, slots=4)
        self.agent = NodeAgent(options, self.host, self.network, 10, self.has_ended.set)

    async def push(self, *job_ids: str) -> None:
        items = tuple(
            PushItem(
                job_id=job_id,
                attempt=1,
                src="en",
                tgt="en",
                services=("asr",),
                wants_partials=False,
                n_bytes=32_000,
                token=attempt_token(KEY, job_id, 1),
            )
            for job_id in job_ids
        )
        audio = [AUDIO.view(np.uint8) + np.uint8(number) for number, _ in enumerate(items)]
        await self.agent.push(encode(Push(incarnation=1, items=items)), audio)

    async def stop(self, job_id: str) -> None:
        orders = AgentOrders(incarnation=1, key=KEY, orders=(StopRun(job_id=job_id, attempt=1),))
        await self.agent.order(encode(orders))

    async def until_all_is_sent(self) -> None:
        async with asyncio.timeout(10):
            while self.agent.brain.unsent_reports:  # noqa: ASYNC110  # the agent has no event for this
                await asyncio.sleep(0.001)

    async def until_reported(self, kind: type[AgentMessage], n: int = 1) -> None:
        async with asyncio.timeout(10):
            while sum(isinstance(report, kind) for report in self.dispatcher.reports) < n:  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.001)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    while not world.agent.brain.is_loaded:  # noqa: ASYNC110  # an iteration or two of the loop
        await asyncio.sleep(0)
    yield world
    await world.agent.stop()


async def test_a_run_that_is_stopped_before_it_began_never_begins_and_its_slot_is_free(world: World) -> None:
    await asyncio.gather(world.push("j1"), world.stop("j1"))
    await world.until_reported(RunStopped)
    assert world.host.begun == []
    assert world.agent.brain.running == []


async def test_each_run_is_given_its_own_audio_whatever_was_refused_beside_it(world: World) -> None:
    await world.stop("j1")
    await world.push("j1", "j2")
    await asyncio.sleep(0)
    ((job_id, audio),) = world.host.begun
    assert job_id == "j2"
    assert audio.tobytes() == (AUDIO.view(np.uint8) + np.uint8(1)).tobytes()


async def test_reports_are_repeated_until_the_dispatcher_has_answered(world: World) -> None:
    world.network.lose_requests["agent"] = 1
    world.network.lose_replies["agent"] = 1
    world.host.may_end.set()
    await world.push("j1")
    await world.until_all_is_sent()
    assert [type(report) for report in world.dispatcher.reports] == [RunAccepted, RunFinished] * 2
    assert world.network.calls["agent"] == 3


async def test_a_batch_that_the_dispatcher_refuses_does_not_hold_up_the_next_one(world: World) -> None:
    world.dispatcher.refuses = 1
    world.host.may_end.set()
    await world.push("j1")
    await world.until_all_is_sent()
    assert world.dispatcher.reports == []
    await world.push("j2")
    await world.until_all_is_sent()
    assert {report.job_id for report in world.dispatcher.reports} == {"j2"}


async def test_the_ends_of_runs_that_end_together_travel_together(world: World) -> None:
    await world.push("j1", "j2", "j3")
    await world.until_reported(RunAccepted, 3)
    world.network.calls.clear()
    world.host.may_end.set()
    await world.until_reported(RunFinished, 3)
    assert world.network.calls["agent"] == 1


async def test_an_agent_that_is_not_current_ends_its_process(world: World) -> None:
    assert not world.has_ended.is_set()
    world.registry.is_current = False
    async with asyncio.timeout(10):
        await world.has_ended.wait()


async def test_orders_of_a_stranger_are_refused(world: World) -> None:
    await world.push("j1")
    orders = AgentOrders(incarnation=1, key=b"guessed", orders=(StopRun(job_id="j1", attempt=1),))
    with pytest.raises(SchedError, match="from the dispatcher only"):
        await world.agent.order(encode(orders))
    assert world.agent.brain.running == [("j1", 1)]


async def test_an_engine_that_cannot_say_whether_it_takes_a_job_refuses_that_job_only(world: World) -> None:
    def admit(work: Work) -> str | None:
        if work.job_id == "j2":
            raise KeyError(work.tgt)
        return None

    world.host.admit = admit  # type: ignore[method-assign]  # an engine's own code, which may raise anything
    await world.push("j1", "j2", "j3")
    world.host.may_end.set()
    await world.until_reported(RunFinished, 2)
    await world.until_reported(RunRefused)
    assert [job_id for job_id, _ in world.host.begun] == ["j1", "j3"]
    assert world.agent.brain.running == []
    (refused,) = [report for report in world.dispatcher.reports if isinstance(report, RunRefused)]
    assert (refused.job_id, refused.why) == ("j2", "the engine cannot say whether it takes this job: KeyError: 'en'")


async def test_the_registry_knows_that_an_engine_loads_before_it_does(world: World) -> None:
    assert world.host.beats_before_start == 1
    assert [beat.is_loaded for beat in world.registry.beats[:1]] == [False]


async def test_an_agent_whose_last_run_cannot_be_ended_ends_itself(world: World) -> None:
    await world.push("j1")
    await world.until_reported(RunAccepted)
    world.host.is_stuck = True
    await asyncio.sleep(0.05)
    assert not world.has_ended.is_set(), "j1 was not stopped"
    world.host.ignores_cancelling = True
    await world.stop("j1")
    async with asyncio.timeout(10):
        await world.has_ended.wait()
    world.host.may_end.set()
