import asyncio
import time

import pytest

from ray_sched.bench.load import Audio, Supply, WrongEchoError, bytes_of, closed, open_loop
from ray_sched.wire.samples import Samples

AUDIO = Audio(0.01)


async def echo(audio: Samples) -> str:
    await asyncio.sleep(0)
    return f"echo of {len(audio)} samples"


def test_utterances_in_flight_differ_from_each_other() -> None:
    results = {AUDIO[number].tobytes() for number in range(1_000)}
    assert len(results) == 1_000
    assert AUDIO[0].nbytes == bytes_of(0.01) == 320


async def test_a_closed_load_does_the_jobs_it_was_told_and_never_has_more_in_flight() -> None:
    under_way: list[int] = []
    most = 0

    async def slow(audio: Samples) -> str:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        text = await echo(audio)
        under_way.pop()
        return text

    supply = Supply(AUDIO, jobs=100, seconds=0)
    await closed(slow, supply, 7)
    assert len(supply.took_ms) == 100
    assert most == 7


async def test_a_load_of_some_time_ends_when_the_time_is_up() -> None:
    supply = Supply(AUDIO, jobs=0, seconds=0.05)
    await closed(echo, supply, 2)
    assert supply.took_ms
    assert supply.take() is None


async def test_an_open_load_counts_from_when_a_job_was_due() -> None:
    async def blocking(audio: Samples) -> str:
        time.sleep(0.01)  # noqa: ASYNC251  # the contestant that falls behind
        return await echo(audio)

    supply = Supply(AUDIO, jobs=20, seconds=0)
    await open_loop(blocking, supply, 10_000)
    assert max(supply.took_ms) >= 150, "the last one waited for nineteen before it"


async def test_a_wrong_echo_ends_the_measurement() -> None:
    async def lazy(_audio: Samples) -> str:
        return "done"

    with pytest.raises(WrongEchoError, match="'done' came back instead of 'echo of 160 samples'"):
        await closed(lazy, Supply(AUDIO, jobs=1, seconds=0), 1)
