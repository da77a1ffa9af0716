"""Audio in memory that two processes share."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from ray_sched.agent.audio_memory import KEPT_BYTES, PLACE_BYTES, AudioMemory, AudioView


def used_bytes(memory: AudioMemory) -> int:
    return os.fstat(memory.handle).st_blocks * 512


@pytest.fixture
def memory() -> Iterator[AudioMemory]:
    memory = AudioMemory(1024)
    yield memory
    memory.close()


def test_what_is_put_into_a_place_is_read_there_and_nowhere_else(memory: AudioMemory) -> None:
    view = AudioView(memory.handle)
    first, last = np.arange(80_000, dtype=np.int16), np.arange(16_000, dtype=np.int16)[::-1]
    assert (memory.put(0, first), memory.put(1023, last.tobytes())) == (160_000, 32_000)
    assert view.samples(0, 160_000).tobytes() == first.tobytes()
    assert view.samples(1023, 32_000).tobytes() == last.tobytes()
    memory.put(0, last)
    assert view.samples(0, 32_000).tobytes() == last.tobytes()


def test_samples_that_are_not_side_by_side_or_of_another_order_are_put_as_they_are_meant(memory: AudioMemory) -> None:
    strided, big = np.arange(100, dtype=np.int16)[::2], np.arange(50, dtype=">i2")
    for audio in (strided, big):
        assert AudioView(memory.handle).samples(3, memory.put(3, audio)).tolist() == audio.tolist()


def test_a_view_is_read_only_and_may_be_empty(memory: AudioMemory) -> None:
    samples = AudioView(memory.handle).samples(0, memory.put(0, b"\1\0"))
    assert not samples.flags.writeable
    assert len(AudioView(memory.handle).samples(0, memory.put(0, b""))) == 0


def test_only_what_was_written_is_used_and_long_audio_is_given_back(memory: AudioMemory) -> None:
    assert used_bytes(memory) == 0
    view, audio = AudioView(memory.handle), np.arange(4 * KEPT_BYTES // 2).astype(np.int16)
    memory.release(5, memory.put(5, audio[: KEPT_BYTES // 4]))
    assert 0 < used_bytes(memory) <= KEPT_BYTES
    n_bytes = memory.put(5, audio)
    assert view.samples(5, n_bytes).tobytes() == audio.tobytes()
    assert used_bytes(memory) == n_bytes
    memory.release(5, n_bytes)
    assert used_bytes(memory) == KEPT_BYTES
    assert view.samples(5, memory.put(5, audio)).tobytes() == audio.tobytes()


def test_a_place_holds_the_longest_audio_there_may_be() -> None:
    assert PLACE_BYTES >= 24 * 3600 * 32_000
