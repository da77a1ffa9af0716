"""The audio of clients: the same samples however it is chunked, and what FFmpeg makes of G.711."""

import itertools

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_sched.gateway.realtime.audio_in import _TABLES, AudioIn, Format
from ray_sched.gateway.realtime.held_audio import HeldAudio


@given(rate=st.sampled_from([24_000, 16_000]), cuts=st.lists(st.integers(0, 4_800), max_size=20))
def test_chunks_of_any_length_are_the_same_samples_as_all_at_once(rate: int, cuts: list[int]) -> None:
    audio = (np.sin(np.arange(2_400) / 9) * 9_000).astype("<i2").tobytes()
    whole, chunked = AudioIn(Format(rate=rate)), AudioIn(Format(rate=rate))
    expected = np.concatenate([whole.add(audio), whole.flush()])
    places = [0, *sorted(cuts), len(audio)]
    parts = [chunked.add(audio[begin:end]) for begin, end in itertools.pairwise(places)]
    heard = np.concatenate([*parts, chunked.flush()])
    np.testing.assert_allclose(heard, expected, atol=2)  # soxr dithers
    assert len(expected) == 2_400 * 16_000 // rate


@pytest.mark.parametrize(("coding", "codec"), [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")])
def test_g711_is_decoded_as_ffmpeg_decodes_it(coding: str, codec: str) -> None:
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8_000, "mono"  # type: ignore[attr-defined]  # it is one of audio
    frames = decoder.decode(av.Packet(bytes(range(256))))  # type: ignore[attr-defined]  # the same
    np.testing.assert_array_equal(_TABLES[coding], frames[0].to_ndarray()[0])


@given(st.lists(st.one_of(st.integers(1, 50), st.floats(0, 1)), max_size=40))
def test_held_samples_are_those_that_came_and_were_not_dropped(steps: list[int | float]) -> None:
    counted: list[int] = []
    held, n = HeldAudio(counted.append), 0
    for step in steps:
        if isinstance(step, int):
            held.add(np.arange(n, n + step, dtype=np.int16))
            n += step
        else:
            held.drop(held.begin + round(step * held.n_samples))
        np.testing.assert_array_equal(held.between(held.begin, held.end), np.arange(held.begin, n))
        assert sum(counted) == held.n_samples
