"""The audio of one job, as it is taken at submit."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from ray_sched.audio import Limits
from ray_sched.audio.report import Encoding
from ray_sched.client.audio import AudioSource
from ray_sched.client.reader import Reader
from ray_sched.client.sources import Source, how_to_read
from ray_sched.data import samples
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess

READER = Reader(Limits(), 30)


def given() -> Samples:
    return np.arange(1, 101, dtype=np.int16)


@pytest.mark.parametrize("kind", ["array", "view", "bytearray", "memoryview"])
async def test_a_buffer_that_is_used_again_after_the_submit_changes_nothing(kind: str) -> None:
    buffer = given()
    held = bytearray(buffer.tobytes())
    kinds: dict[str, AudioSource] = {
        "array": buffer,
        "view": buffer[:],
        "bytearray": held,
        "memoryview": memoryview(held),
    }
    source = Source(kinds[kind], how_to_read(None if kind in {"array", "view"} else 16_000), READER)
    buffer[:] = 0
    held[:] = bytes(len(held))
    assert (await source.samples()).tolist() == given().tolist()


async def test_a_buffer_that_its_owner_will_not_touch_is_not_copied_if_he_says_so() -> None:
    buffer = given()
    assert await Source(buffer, how_to_read(None), READER, copy=False).samples() is buffer


async def test_what_had_to_be_converted_is_not_copied_once_more() -> None:
    source = Source(np.ones(4, np.float32), how_to_read(None), READER)
    assert (await source.samples()).flags.owndata


CUT = samples()[1].path.read_bytes()[:32_044]


async def test_audio_that_is_cut_off_is_refused_or_taken_as_far_as_it_goes_and_marked() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with system.client() as client, asyncio.timeout(20):
            error = (await client.submit(CUT, src="en").result()).error
            assert error is not None
            assert "was cut off" in error.message
            part = await client.submit(CUT, src="en", allow_partial=True)
            assert (part.audio_ms, part.audio_is_whole) == (1_000, False)
            assert "was cut off" in part.audio_notes[0]
            whole = await client.submit(samples()[1].path, src="en", allow_partial=True)
            assert (whole.audio_is_whole, whole.audio_notes) == (True, ())


@pytest.mark.parametrize(("encoding", "n_bytes"), [("s16le", 16_000), ("mulaw", 8_000), ("alaw", 8_000)])
@pytest.mark.parametrize("is_path", [False, True])
async def test_samples_without_a_header_may_have_any_rate_and_encoding(
    tmp_path: Path, encoding: Encoding, n_bytes: int, *, is_path: bool
) -> None:
    path = tmp_path / "call.raw"
    path.write_bytes(bytes(n_bytes))
    reader = Reader(Limits(), 30)
    source = Source(path if is_path else path.read_bytes(), how_to_read(8_000, encoding), reader)
    await source.prepare()
    assert source.duration_ms == 1_000
    assert len(await source.samples()) == 16_000
    reader.close()


async def test_who_asks_while_samples_are_made_gets_the_same_ones_and_who_asks_later_new_ones() -> None:
    calls = list[int]()
    begun, may_end = threading.Event(), threading.Event()

    def speak() -> Samples:
        calls.append(1)
        begun.set()
        assert may_end.wait(10)
        return given()

    source = Source(speak, how_to_read(None), READER)
    first, given_up = asyncio.ensure_future(source.samples()), asyncio.ensure_future(source.samples())
    await asyncio.to_thread(begun.wait, 10)
    given_up.cancel()
    second = asyncio.ensure_future(source.samples())
    await asyncio.sleep(0)
    may_end.set()
    assert (await first) is (await second)
    assert len(calls) == 1
    await source.samples()
    assert len(calls) == 2


async def test_what_nobody_waits_for_is_not_made() -> None:
    cancelled = asyncio.Event()

    async def speak() -> Samples:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return given()

    waiting = asyncio.ensure_future(Source(speak, how_to_read(None), READER).samples())
    await asyncio.sleep(0.05)
    waiting.cancel()
    async with asyncio.timeout(5):
        await cancelled.wait()
