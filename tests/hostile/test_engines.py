"""Engine processes that say what is no frame, or return what is no result: their run fails, the slot comes back."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from ray_sched.agent.engine import Work
from ray_sched.agent.engine_errors import EngineCrashedError, EngineFailedError
from ray_sched.agent.host import EngineHost
from ray_sched.core.capability import Capability
from tests.support.engines import MACHINE

AUDIO = np.arange(16_000, dtype=np.int16)


@pytest.fixture
async def host() -> AsyncIterator[EngineHost]:
    declared = Capability(engine="test", asr=("en",))
    it = EngineHost("tests.support.engines.NonsenseEngine", declared, {}, 1, MACHINE, restart_backoff_s=0.01)
    await it.start()
    yield it
    await it.stop()


def work(number: int, src: str) -> Work:
    return Work(job_id=f"b-{number}", attempt=1, src=src, tgt="es", services=("asr",))


@pytest.mark.parametrize(
    ("src", "what"), [("huge", "claims a frame of 4294967295 bytes"), ("noise", "claims a frame of 1684107084 bytes")]
)
async def test_a_frame_that_is_none_ends_its_process_and_no_other(host: EngineHost, src: str, what: str) -> None:
    with pytest.raises(EngineCrashedError, match=what):
        await host.run(work(1, src), AUDIO, print)
    assert host.is_healthy
    assert (await host.run(work(2, "en"), AUDIO, print)).text == str(host.pids[0])


@pytest.mark.parametrize("src", ["number", "half"])
async def test_a_result_of_wrong_types_fails_its_run_and_its_process_lives_on(host: EngineHost, src: str) -> None:
    before = host.pids
    with pytest.raises(EngineFailedError):
        await host.run(work(1, src), AUDIO, print)
    assert (await host.run(work(2, "en"), AUDIO, print)).text == str(host.pids[0])
    assert host.pids == before
