"""An engine that warms up has run once when its node is ready, wherever it runs; one that does not is left alone."""

import asyncio
import re
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from ray_sched.agent.engine import EngineResult, Isolation, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from ray_sched.wire.samples import Samples
from tests.support.engines import MACHINE, PlainEngine

AUDIO = np.ones(160, np.int16)
WORK = Work(job_id="j1", attempt=1, src="en", tgt="es", services=("asr", "mt"))


class CountingEngine(PlainEngine):
    """Says what it was given before; fails at silence if its option says how."""

    warms_up: ClassVar[bool] = True

    def __init__(self, declared: Capability, options: dict[str, str]) -> None:
        super().__init__(declared, options)
        self.before: list[str] = []

    def run(self, work: Work, audio: Samples, emit_partial: Callable[[str], None]) -> EngineResult:
        del emit_partial
        said = " ".join(self.before)
        self.before.append(f"{work.src}-{work.tgt}/{'+'.join(work.services)}/{len(audio)}/{np.abs(audio).max()}")
        if work.job_id == "warm-up":
            match self.options.get("fails"):
                case "raise":
                    raise ValueError("three legs")
                case "miss":
                    raise ModelNotAvailableError("mt", "the weights are gone")
                case "refuse":
                    raise RefusedError("too hot")
        return EngineResult(text=said)


class ThreadEngine(CountingEngine):
    isolation: ClassVar[Isolation] = "thread"


class ColdEngine(CountingEngine):
    warms_up: ClassVar[bool] = False


class OwnWayEngine(CountingEngine):
    def warm_up(self) -> None:
        self.before.append(f"own way {self.options.get('fails', '')}")
        if self.options.get("fails"):
            raise ModelNotAvailableError("tts", "the voice is gone")


async def first_text(engine: str, asr: tuple[str, ...] = ("de", "en"), **options: str) -> str:
    """What the first job of a fresh host is answered."""
    declared = Capability(engine="test", asr=asr, mt=("en:es",))
    host = EngineHost(f"{__name__}.{engine}", declared, options, 1, MACHINE, restart_backoff_s=0)
    try:
        async with asyncio.timeout(30):
            await host.start()
            if not host.is_healthy:
                return host.why_unhealthy
            return (await host.run(WORK, AUDIO, lambda _text: None)).text
    finally:
        await host.stop()


@pytest.mark.parametrize("engine", ["CountingEngine", "ThreadEngine"])
async def test_an_engine_that_warms_up_has_recognised_a_second_of_silence_before_its_first_job(engine: str) -> None:
    assert await first_text(engine) == "de-de/asr/16000/0"


async def test_one_that_does_not_say_so_or_recognises_nothing_has_run_nothing() -> None:
    assert await first_text("ColdEngine") == ""
    assert await first_text("CountingEngine", asr=()) == ""


async def test_it_warms_up_with_a_language_that_it_has_and_not_with_any() -> None:
    assert await first_text("CountingEngine", asr=("auto", "fr")) == "fr-fr/asr/16000/0"


async def test_an_engine_may_warm_up_in_its_own_way() -> None:
    assert await first_text("OwnWayEngine") == "own way "
    assert await first_text("OwnWayEngine", asr=(), fails="miss") == "own way miss"


@pytest.mark.parametrize("fails", ["miss", "refuse"])
async def test_that_a_model_is_not_there_is_left_to_be_said_of_each_job(fails: str) -> None:
    assert await first_text("CountingEngine", fails=fails) == "de-de/asr/16000/0"


@pytest.mark.parametrize("engine", ["CountingEngine", "ThreadEngine"])
async def test_an_engine_that_fails_at_silence_is_not_ready(engine: str) -> None:
    assert (await first_text(engine, fails="raise")).endswith("ValueError: three legs")


async def test_loading_says_how_long_it_takes_and_how_far_it_is() -> None:
    declared = Capability(engine="test", asr=("en",))
    host = EngineHost("tests.support.engines.SlowEngine", declared, {}, 2, MACHINE)
    assert host.progress == ""
    starting = asyncio.create_task(host.start())
    try:
        async with asyncio.timeout(30):
            while not re.search(r", \d+ MB in memory$", host.progress):  # noqa: ASYNC110  # the host has no event for it
                await asyncio.sleep(0.005)
            assert re.match(r"loading its engine for \d+ s: [01] of 2 replicas are ready", host.progress)
            await starting
        assert host.progress == ""
    finally:
        await host.stop()
