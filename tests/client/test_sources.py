"""The audio of one job, as it is taken at submit."""

import numpy as np
import pytest

from ray_sched.audio import Limits
from ray_sched.client.audio import AudioSource
from ray_sched.client.reader import Reader
from ray_sched.client.sources import Source, how_to_read
from ray_sched.wire.samples import Samples

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
