"""The ledger of a node says, at every moment, how many bytes of audio and speech are in its agent's memory."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

from ray_sched.agent.agent import NodeAgent
from ray_sched.agent.engine import EngineResult, Isolation, RefusedError, Work
from ray_sched.agent.engine_errors import EngineFailedError
from ray_sched.client.client import Client
from ray_sched.core.capability import Capability
from ray_sched.core.ledger import AudioState
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.rules import DispatchRules
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess

SPEAKING = Capability(engine="test", asr=("en",), mt=("en:en", "en:es"), tts=("es",))
AUDIO = np.zeros(16_000, np.int16)
ONE_TRY = DispatchRules(max_engine_retries=0, max_failovers=0)


class Speech(bytes):
    """Speech that counts how much of it there is."""

    held: ClassVar[int] = 0

    def __init__(self, n_bytes: int) -> None:
        Speech.held += n_bytes

    def __del__(self) -> None:
        Speech.held -= len(self)


class Memory:
    """The audio that engines were given, and whether it is still there."""

    def __init__(self) -> None:
        self._arrays: list[weakref.ref[Any]] = []

    def note(self, audio: Samples) -> None:
        """Remember this audio without keeping it: the array that owns its bytes."""
        self._arrays.append(weakref.ref(audio if audio.base is None else audio.base))

    def held(self) -> tuple[int, int]:
        """Bytes of audio and of speech that are in memory."""
        audio = sum(array.nbytes for ref in self._arrays if (array := ref()) is not None)
        return audio, Speech.held


class GatedHost:
    """Runs end when the test says how: with speech, or with an error."""

    why_unhealthy = ""
    progress = ""
    is_stuck = False
    loads_in_s = 0.0
    loads_within_s = 0

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.begun: set[AttemptKey] = set()
        self.ends: dict[str, asyncio.Future[int | Exception]] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def capability(self) -> Capability:
        return SPEAKING

    def admit(self, work: Work) -> str | None:
        self.ends[work.job_id] = asyncio.get_running_loop().create_future()
        return None

    async def run(
        self, work: Work, audio: Samples, emit_partial: Callable[[str], None], handle_loaded: Callable[[], None]
    ) -> EngineResult:
        del emit_partial, handle_loaded
        self._memory.note(audio)
        self.begun.add((work.job_id, work.attempt))
        end = await self.ends[work.job_id]
        if isinstance(end, Exception):
            raise end
        return EngineResult(text="x", speech=Speech(end), speech_rate_hz=16_000)


class Remote:
    """An agent in another process: what it hands out, once it may, is copied."""

    def __init__(self, agent: NodeAgent) -> None:
        self.push, self.order = agent.push, agent.order
        self.may_fetch = asyncio.Event()
        self._agent = agent

    async def fetch_speech(self, raw: bytes) -> bytes:
        await self.may_fetch.wait()
        return bytes(await self._agent.fetch_speech(raw))


def by_ledger(agent: NodeAgent) -> tuple[int, int]:
    ledger = agent.brain.ledger
    return ledger.bytes_in(AudioState.RUNNING), ledger.bytes_in(AudioState.SPOKEN)


@asynccontextmanager
async def watched(agent: NodeAgent, host: GatedHost, memory: Memory) -> AsyncIterator[None]:
    """Compare whenever the event loop comes by, but for the moment between a push and the begin of its runs."""
    is_over = False

    async def watch() -> None:
        while not is_over:
            if host.begun.issuperset(agent.brain.running):
                assert by_ledger(agent) == memory.held()
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        is_over = True
        await watching


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed has to be freed at once, not when the collector comes by."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # the agent has no event for this
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("inline_bytes", [0, 10**6], ids=["through the store", "in the call"])
@pytest.mark.usefixtures("no_collector")
async def test_every_byte_is_running_then_spoken_then_released_whatever_becomes_of_the_run(inline_bytes: int) -> None:
    memory = Memory()
    host = GatedHost(memory)
    async with InProcess(ONE_TRY) as system:
        agent = await system.add_node("a", capability=SPEAKING, host=host)
        remote = system.network.actors["agent:a"] = Remote(agent)
        async with (
            watched(agent, host, memory),
            system.client(inline_bytes=inline_bytes) as client,
            asyncio.timeout(20),
        ):
            handles = [client.submit(AUDIO, src="en", tgt="es") for _ in range(4)]
            await until(lambda: by_ledger(agent) == (4 * 32_000, 0))
            speaks, _, fails, refuses = [await handle.accepted() for handle in handles]
            host.ends[fails].set_result(EngineFailedError("ValueError: three legs"))
            await until(lambda: by_ledger(agent) == (3 * 32_000, 0))
            await handles[1].cancel()
            await until(lambda: by_ledger(agent) == (2 * 32_000, 0))
            host.ends[refuses].set_result(RefusedError("too hot"))
            await until(lambda: by_ledger(agent) == (32_000, 0))
            await handles[3].cancel()
            host.ends[speaks].set_result(640)
            await until(lambda: by_ledger(agent) == (0, 640))
            remote.may_fetch.set()
            await until(lambda: by_ledger(agent) == (0, 0))


class ThreadEngine:
    """Speaks, or fails if it is told to by language."""

    isolation: ClassVar[Isolation] = "thread"
    memory: ClassVar[Memory]

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        del options
        self._declared = declared

    def capability(self) -> Capability:
        return self._declared

    def load(self) -> None: ...

    def admit(self, work: Work) -> str | None:
        del work
        return None

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del emit_partial
        self.memory.note(audio)
        if work.tgt == "en":
            raise ValueError("three legs")
        return EngineResult(text="x", speech=Speech(640), speech_rate_hz=16_000)


@pytest.mark.usefixtures("no_collector")
async def test_a_slot_keeps_neither_the_audio_nor_the_speech_nor_the_error_of_the_run_before() -> None:
    ThreadEngine.memory = memory = Memory()
    async with InProcess(ONE_TRY) as system:
        agent = await system.add_node("a", capability=SPEAKING, engine=f"{__name__}.ThreadEngine")
        remote = system.network.actors["agent:a"] = Remote(agent)
        remote.may_fetch.set()
        async with system.client() as client, asyncio.timeout(20):
            await run(client, "es")
            await run(client, "en")
            await until(lambda: memory.held() == (0, 0))


async def run(client: Client, tgt: str) -> None:
    """One job; its result is not kept."""
    ended = await client.submit(AUDIO, src="en", tgt=tgt).result()
    assert ended.status == ("completed" if tgt == "es" else "failed")
