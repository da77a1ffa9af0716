import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ray_sched.audio import Decoded, Limits, decode, decode_array
from ray_sched.core.errors import SchedError
from tests.audio.odd_audio.encoder import encoded
from tests.audio.odd_audio.tones import Floats, heard, melody, tones_of


def of_file(audio: Floats, rate_hz: int = 44_100, codec: str = "pcm_f32le") -> Decoded:
    return decode(io.BytesIO(encoded(audio, rate_hz, "wav", codec)), "x", Limits())


def of_array(audio: NDArray[Any], rate_hz: int = 44_100) -> Decoded:
    return decode_array(audio, rate_hz, "x", Limits())


def sine(frequency_hz: float, rate_hz: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def level_db(samples: NDArray[np.int16]) -> float:
    """Of the middle half, against the sine above."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64) / 32768
    return 20 * math.log10(math.sqrt(np.mean(middle**2)) / 0.5 * math.sqrt(2) + 1e-9)


def test_channels_are_averaged() -> None:
    stereo = np.concatenate([melody(0.5, 44_100), np.zeros((22_050, 1), np.float32)], axis=1)
    mono = of_array(melody(0.5, 44_100) / 2).samples
    assert np.abs(of_array(stereo).samples - mono).max() <= 1
    assert np.abs(of_file(stereo).samples - mono).max() <= 1


@pytest.mark.parametrize("hears", [of_file, of_array])
def test_channels_that_cancel_each_other_are_not_lost(hears: Callable[..., Decoded]) -> None:
    left = melody(1.0, 44_100)
    decoded = hears(np.concatenate([left * np.float32(0.999), -left], axis=1))
    assert heard(decoded.samples) == tones_of(1.0)
    assert decoded.report.level_db > -13
    assert decoded.report.notes == ("its channels cancel each other; channel 2 was taken alone",)
    ordinary = hears(np.concatenate([left, -left * np.float32(0.9)], axis=1))
    assert ordinary.report.notes == ()


@pytest.mark.parametrize("hears", [of_file, of_array])
def test_floats_beyond_full_scale_are_clipped_while_they_are_few_and_near(hears: Callable[..., Decoded]) -> None:
    audio = melody(1.0, 16_000)
    audio[100:200] = 3.0
    assert hears(audio, 16_000).samples[100:200].tolist() == [32_767] * 100
    audio[200:1_000] = 1.5
    with pytest.raises(SchedError, match=r"x has 6 % of its samples beyond -1 to 1.*divide them first"):
        hears(audio, 16_000)
    audio[0] = 20_000
    with pytest.raises(SchedError, match="x has a peak of 20000; float samples go from -1 to 1, divide them first"):
        hears(audio, 16_000)
    audio[0] = np.nan
    with pytest.raises(SchedError, match="x holds NaN or infinite samples; repair whatever made it"):
        hears(audio, 16_000)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 96_000])
def test_what_16_khz_can_hold_passes_and_what_it_cannot_does_not(rate_hz: int) -> None:
    for frequency_hz in (100, 1_000, 3_400, 7_000):
        assert abs(level_db(decode_array(sine(frequency_hz, rate_hz), rate_hz, "x", Limits()).samples)) < 0.1
    for frequency_hz in (8_400, 10_000, 15_900):
        heard_db = level_db(decode_array(sine(frequency_hz, rate_hz), rate_hz, "x", Limits()).samples)
        assert heard_db < -90, "one step of 16 bits"


def test_the_level_is_that_of_the_samples() -> None:
    full = np.tile(np.array([32_767, -32_767], np.int16), 4_000)
    assert decode_array(full, 16_000, "x", Limits()).report.level_db == 0.0
    assert decode_array(full // 2, 16_000, "x", Limits()).report.level_db == -6.02
    assert decode_array(full * 0, 16_000, "x", Limits()).report.level_db == -math.inf
