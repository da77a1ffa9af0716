"""Audio batches: what is packed is unpacked, and what does not fit is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.wire.audio_batch import PART_BYTES, pack, unpack

_SIZES = st.lists(st.one_of(st.integers(0, 64), st.integers(PART_BYTES - 2, 3 * PART_BYTES)), max_size=6)


@given(_SIZES)
@settings(deadline=None)  # it copies megabytes: how long that takes is the machine's affair
def test_what_is_packed_is_unpacked_byte_for_byte_and_no_part_is_too_large_for_the_call(sizes: list[int]) -> None:
    payloads = [np.arange(n, n + size).astype(np.uint8) for n, size in enumerate(sizes)]
    parts = pack(payloads)
    assert all(0 < len(part) <= PART_BYTES for part in parts)
    assert len(parts) == -(-sum(sizes) // PART_BYTES)
    unpacked = unpack(parts, sizes)
    assert [payload.tolist() for payload in unpacked] == [payload.tolist() for payload in payloads]
    assert all(payload.flags.owndata for payload in unpacked), "the call can go, they stay"


def test_what_comes_from_the_store_is_not_copied() -> None:
    stored = [np.zeros(2, np.uint8), np.ones(3, np.uint8)]
    unpacked = unpack([stored], [2, 3])
    assert all(np.shares_memory(mine, theirs) for mine, theirs in zip(unpacked, stored, strict=True))


def test_one_audio_may_come_from_the_store_as_bytes_of_any_length() -> None:
    audio = np.arange(3 * PART_BYTES).astype(np.uint8)
    (payload,) = unpack([audio.tobytes()], [audio.nbytes])
    assert np.array_equal(payload, audio)
    assert payload.flags.owndata


@pytest.mark.parametrize(
    ("audio_batch", "said"),
    [
        ([None], "not as NoneType"),
        ([b"ab", "ab"], "not as bytes, str"),
        ([], "audio of 4 bytes came as 0"),
        ([b"abc"], "audio of 4 bytes came as 3"),
        ([b"abc", b"de"], "audio of 4 bytes came as 5"),
        ([[np.zeros(4, np.uint8)]], "a push of 2 jobs came with 1 audios"),
        ([[np.zeros(2, np.uint8), np.zeros(2)]], "as many bytes as the push says"),
        ([[np.zeros(2, np.uint8), np.zeros(3, np.uint8)]], "as many bytes as the push says"),
        ([[np.zeros(2, np.uint8), b"ab"]], "as many bytes as the push says"),
        ([[np.zeros((1, 2), np.uint8), np.zeros(2, np.uint8)]], "as many bytes as the push says"),
    ],
)
def test_a_batch_that_does_not_hold_what_its_push_says_is_refused(audio_batch: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpack(audio_batch, [2, 2])


def test_a_push_that_claims_more_memory_than_there_is_takes_none() -> None:
    with pytest.raises(ValueError, match="came as 2"):
        unpack([b"ab"], [2**53])
