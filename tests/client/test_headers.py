"""What the first bytes of an audio tell."""

import io
import struct
import wave

import pytest
import soundfile

from ray_sched.client.headers import HEAD_BYTES, duration_ms, is_plain, plain_samples
from ray_sched.data import samples

SPEECH = samples()[1].path.read_bytes()


def about_ms(data: bytes) -> int:
    return duration_ms(data[:HEAD_BYTES], len(data))


def test_a_recording_of_16_khz_is_plain_and_its_samples_are_there_without_a_decoder() -> None:
    assert is_plain(SPEECH, len(SPEECH))
    assert plain_samples(SPEECH).tobytes() == SPEECH[44:]


@pytest.mark.parametrize(
    "at",
    [0, 4, 8, 12, 16, 20, 22, 24, 28, 32, 34, 36, 40],
)
def test_a_header_of_which_anything_is_different_is_for_the_decoder(at: int) -> None:
    other = bytearray(SPEECH)
    other[at] ^= 1
    assert not is_plain(bytes(other), len(other))


def test_a_file_that_is_longer_or_shorter_than_its_header_says_is_for_the_decoder() -> None:
    for data in (b"", SPEECH[:43], SPEECH[:44], SPEECH[:-1], SPEECH[:-2], SPEECH + b"\0\0"):
        assert not is_plain(data, len(data))


def test_the_duration_of_wav_comes_from_the_bytes_that_are_there() -> None:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(bytes(44_100 * 4 * 3))
    data = stream.getvalue()
    assert about_ms(data) == 3_000
    assert about_ms(data[:40] + struct.pack("<I", 0xFFFF_FFFF) + data[44:]) == 3_000
    assert about_ms(data[:30]) == 0


def test_the_duration_of_flac_stands_in_its_header() -> None:
    decoded, rate_hz = soundfile.read(io.BytesIO(SPEECH), dtype="int16")
    stream = io.BytesIO()
    soundfile.write(stream, decoded, rate_hz, format="FLAC")
    assert about_ms(stream.getvalue()) == 2_990
    assert about_ms(b"fLaC") == 0


@pytest.mark.parametrize(("kind", "rate_hz"), [("OGG", 16_000), ("MP3", 16_000)])
def test_the_duration_of_compressed_speech_is_estimated_within_a_factor_of_four(kind: str, rate_hz: int) -> None:
    decoded, _ = soundfile.read(io.BytesIO(SPEECH), dtype="int16")
    stream = io.BytesIO()
    soundfile.write(stream, decoded, rate_hz, format=kind)
    assert 2_990 / 4 < about_ms(stream.getvalue()) < 2_990 * 4


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert about_ms(bytes(range(256)) * 40) == 0
