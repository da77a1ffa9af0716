"""A job whose engine's process dies of it, from the client to the real process and back."""

import asyncio
from pathlib import Path

import numpy as np

from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code
from tests.support.in_process import InProcess

SECOND = np.zeros(16_000, np.int16)
ABLE = Capability(engine="CrashingEngine", asr=("die", "en"))


async def test_a_job_that_crashes_its_engine_twice_is_failed_as_poison_and_the_next_one_runs() -> None:
    async with InProcess() as system, asyncio.timeout(60):
        await system.add_node("a", slots=1, capability=ABLE, engine="tests.support.engines.CrashingEngine")
        async with system.client() as client:
            result = await client.submit(SECOND, src="die").result()
            assert result.error is not None
            assert result.error.code is Code.POISON_JOB
            assert result.error.message.count("ENGINE_CRASHED: the engine's process ended with signal 9") == 2
            assert (await client.submit(SECOND, src="en").result()).status == "completed"


async def test_a_job_that_kills_a_batch_is_poison_and_those_that_were_in_it_have_their_results(tmp_path: Path) -> None:
    release = tmp_path / "release"
    engine = "tests.support.engines.BatchEngine"
    able = Capability(engine="BatchEngine", asr=("en", "hld"), mt=("en:kil", "en:es"))
    async with InProcess() as system, asyncio.timeout(60):
        agent = await system.add_node("a", slots=4, capability=able, engine=engine, release=str(release))
        async with system.client() as client:
            holder = client.submit(SECOND, src="hld")
            killer = client.submit(SECOND, src="en", tgt="kil")
            beside = [client.submit(SECOND, src="en", tgt="es") for _ in range(2)]
            while len(agent.brain.running) < 4:  # noqa: ASYNC110  # the agent has no event for this
                await asyncio.sleep(0.01)
            release.touch()
            outcomes = [await job.result() for job in (killer, holder, *beside)]
        assert outcomes[0].error is not None
        assert outcomes[0].error.code is Code.POISON_JOB
        assert [outcome.status for outcome in outcomes[1:]] == ["completed"] * 3
