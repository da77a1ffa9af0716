"""A job whose engine's process dies of it, from the client to the real process and back."""

import asyncio

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
