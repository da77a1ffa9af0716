"""Speech in the formats that clients ask for, as a player hears it."""

import io

import av
import numpy as np
import pytest

from ray_sched.gateway.encoder import FORMATS, RATE_HZ, Encoder

RATE = 22_050
TONE_HZ = 440


def tone(seconds: float, rate_hz: int = RATE) -> bytes:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8_000 * np.sin(2 * np.pi * TONE_HZ * times)).astype("<i2").tobytes()


def heard(name: str, data: bytes) -> np.ndarray:
    """Samples from -1 to 1 at 24 kHz."""
    if name == "pcm":
        return np.frombuffer(data, "<i2") / 32_768
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def pitch_hz(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    return float(np.argmax(np.abs(np.fft.rfft(middle))) * RATE_HZ / len(middle))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("speed", [1.0, 2.0, 0.25])
def test_it_is_as_long_and_as_high_as_it_was_whatever_the_format_and_the_speed(name: str, speed: float) -> None:
    encoder, spoken, written = Encoder(name, speed), tone(2), b""
    for start in range(0, len(spoken), 10_000):
        written += encoder.add(spoken[start : start + 10_000], RATE)
    samples = heard(name, written + encoder.end())
    assert len(samples) / RATE_HZ == pytest.approx(2 / speed, abs=0.1)
    assert pitch_hz(samples) == pytest.approx(TONE_HZ, abs=3)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(8_000 / 32_768 / np.sqrt(2), rel=0.1)


def test_sentences_of_voices_with_other_rates_go_on_where_the_first_ended() -> None:
    encoder = Encoder("pcm")
    written = encoder.add(tone(1), RATE) + encoder.add(tone(1, 16_000), 16_000) + encoder.end()
    assert len(written) / 2 / RATE_HZ == pytest.approx(2, abs=0.001)


def test_bytes_come_before_the_end() -> None:
    for name in FORMATS:
        encoder = Encoder(name)
        assert encoder.add(tone(5), RATE) + encoder.add(tone(5), RATE), name
