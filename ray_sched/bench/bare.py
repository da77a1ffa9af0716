"""An engine without the scheduler and without Ray, in this process: the most that threads or batches of it can do."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from ray_sched.agent.engine import BatchEngine, BatchItem, Engine, Work
from ray_sched.agent.engines import find_engine
from ray_sched.agent.warm_up import load_and_warm_up
from ray_sched.bench.contest import EngineLoad
from ray_sched.bench.load import Awaited
from ray_sched.core.capability import ASR, Capability
from ray_sched.wire.samples import Samples

_WORK = Work(job_id="bare", attempt=1, src="en", tgt="en", services=(ASR,))


def loaded(load: EngineLoad, n_threads: int) -> Engine:
    """The engine, loaded and warm, for so many threads."""
    engine: Any = find_engine(load.name)(Capability(engine=load.name, asr=("en",)), load.options)
    if hasattr(engine, "share"):
        engine.share(n_threads)
    load_and_warm_up(engine)
    return cast("Engine", engine)


def item_of(audio: Samples) -> BatchItem:
    """One utterance, as an engine is given it."""
    return BatchItem(_WORK, audio, lambda _text: None)


class Bare(Awaited):
    """As many threads as slots call the engine."""

    name = "bare"
    note = "the same engine without Ray, as many threads as slots"

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._pool = ThreadPoolExecutor(load.slots)

    async def start(self) -> None:
        """Load the engine."""
        self._engine = await asyncio.to_thread(loaded, self._load, self._load.slots)

    async def echo(self, audio: Samples) -> str:
        """One run."""
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self._pool, self._engine.run, *item_of(audio))).text

    async def stop(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class BareBatched(Awaited):
    """What waits shares the next pass."""

    name = "bare-batched"
    note = "the same engine without Ray, as many utterances as slots in a pass"

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._waiting: asyncio.Queue[tuple[Samples, asyncio.Future[str]]] = asyncio.Queue()

    async def start(self) -> None:
        """Load the engine, and make passes from now on."""
        self._engine = cast("BatchEngine", await asyncio.to_thread(loaded, self._load, 1))
        self._passes = asyncio.create_task(self._work())

    async def echo(self, audio: Samples) -> str:
        """One run."""
        text: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((audio, text))
        return await text

    async def stop(self) -> None:
        """Make no more passes."""
        self._passes.cancel()

    async def _work(self) -> None:
        while True:
            runs = [await self._waiting.get()]
            while len(runs) < self._load.slots and not self._waiting.empty():
                runs.append(self._waiting.get_nowait())
            items = [item_of(audio) for audio, _ in runs]
            outcomes = await asyncio.to_thread(self._engine.run_batch, items)
            for (_, text), outcome in zip(runs, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    text.set_exception(outcome)
                else:
                    text.set_result(outcome.text)


BARE: dict[str, type[Bare] | type[BareBatched]] = {Bare.name: Bare, BareBatched.name: BareBatched}
