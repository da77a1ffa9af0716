import asyncio
import io
import os
import struct
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ray_sched.audio import Limits
from ray_sched.client.audio import AudioSource, write_wav
from ray_sched.client.reader import Reader
from ray_sched.client.sources import Source, how_to_read
from ray_sched.core.errors import Code, SchedError
from ray_sched.data import samples
from ray_sched.wire.samples import Samples

SAMPLE = samples()[1].path
"""48 000-sample WAV, 16 kHz mono."""
KNOWN = np.arange(-8000, 8000, dtype=np.int16)


READERS: dict[float, Reader] = {}
"""By the longest audio they take."""


@pytest.fixture(scope="module", autouse=True)
def _no_decoder_is_left() -> Iterator[None]:
    yield
    for reader in READERS.values():
        reader.close()


def read(audio: AudioSource, rate_hz: int | None = None, *, max_duration_s: float = 600) -> Samples:
    """What a client hears in it."""
    reader = READERS.setdefault(max_duration_s, Reader(Limits(max_duration_s=max_duration_s), 30))

    async def heard() -> Samples:
        source = Source(audio, how_to_read(rate_hz), reader, copy=False)
        await source.prepare()
        return await source.samples()

    return asyncio.run(heard())


def wav(
    data: bytes = KNOWN.tobytes(), *, riff: int | None = None, size: int | None = None, rate: int = 16_000
) -> bytes:
    """A mono 16-bit WAV whose lengths may lie."""
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    head += b"data" + struct.pack("<I", len(data) if size is None else size)
    return b"RIFF" + struct.pack("<I", len(head) + len(data) if riff is None else riff) + head + data


def tone(rate_hz: int, seconds: float = 0.5) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)


def encoded(array: NDArray[Any], rate_hz: int, kind: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, array, rate_hz, format=kind, subtype=subtype)
    return stream.getvalue()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SchedError) as caught:
        call()
    assert caught.value.code is Code.INVALID_AUDIO
    assert "\n" not in caught.value.message
    return caught.value.message


# --- what is taken -----------------------------------------------------------------------------------------------


def test_the_same_samples_come_from_a_path_its_bytes_an_open_file_and_a_function() -> None:
    expected, _ = soundfile.read(SAMPLE, dtype="int16")
    data = SAMPLE.read_bytes()
    for source in (SAMPLE, str(SAMPLE), data, bytearray(data), memoryview(data), io.BytesIO(data), lambda: SAMPLE):
        heard = read(source)
        assert heard.dtype == np.int16
        assert np.array_equal(heard, expected)
    with SAMPLE.open("rb") as stream:
        assert np.array_equal(read(stream), expected)


def test_a_right_array_is_returned_without_a_copy() -> None:
    assert np.shares_memory(read(KNOWN), KNOWN)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64", ">i2", ">f4"])
def test_arrays_of_every_type_mean_the_same(dtype: str) -> None:
    scale = {"i2": 1.0, "32": 65536.0 if dtype == "int32" else 1 / 32768}.get(dtype[-2:], 1 / 32768)
    scale = 1.0 if dtype in {"int16", ">i2"} else scale
    assert np.array_equal(read((KNOWN * np.float64(scale)).astype(dtype)), KNOWN)


def test_sixteen_bit_values_in_a_wider_array_are_refused_with_the_type_to_use() -> None:
    spoken = np.array([0, 900, -12_000, 32_767], np.int16)
    assert "peak of 32767, as 16-bit samples have" in refusal(lambda: read(spoken.astype(np.int32)))
    assert read(np.zeros(4, np.int32)).tolist() == [0, 0, 0, 0]
    assert read(np.array([200, -256], np.int32)).tolist() == [0, 0], "the dither of silence"
    assert read(np.array([-(2**31), 40_000], np.int32)).tolist() == [-32_768, 1]


class Dribbling(io.BytesIO):
    """Gives at most 1000 bytes at a time, as a pipe or a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1000 if size is None or size < 0 else min(size, 1000))


def test_an_open_file_that_gives_less_than_asked_for_is_read_to_its_end() -> None:
    whole = wav()
    assert len(whole) > 2_000
    assert read(Dribbling(whole)).tolist() == read(whole).tolist()


def test_channels_are_averaged() -> None:
    stereo = np.stack([KNOWN, np.zeros_like(KNOWN)], axis=1)
    assert np.abs(read(stereo).astype(int) - KNOWN // 2).max() <= 1
    assert np.abs(read(encoded(stereo, 16_000, "WAV")).astype(int) - KNOWN // 2).max() <= 1


def test_raw_bytes_are_samples_when_the_caller_says_their_rate() -> None:
    assert np.array_equal(read(KNOWN.tobytes(), 16_000), KNOWN)
    assert len(read(KNOWN.tobytes(), 8_000)) == 32_000
    assert len(read(io.BytesIO(KNOWN.tobytes()), 16_000)) == 16_000


def test_raw_samples_that_begin_like_an_mp3_are_samples_when_the_caller_says_so() -> None:
    loud = np.full(100, -1025, dtype="<i2")
    assert loud.tobytes()[0] == 0xFF
    assert np.array_equal(read(loud.tobytes(), 16_000), loud)


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_F000, 0])
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(length: int) -> None:
    data = wav(riff=length, size=length)
    assert np.array_equal(read(data), KNOWN)


def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(wav(),))
    writer.start()
    assert np.array_equal(read(pipe), KNOWN)
    writer.join()


def test_floats_a_little_too_loud_are_clipped() -> None:
    assert read(np.array([1.5, -1.5] + [0.0] * 998))[:3].tolist() == [32767, -32768, 0]


# --- what is known beforehand ------------------------------------------------------------------------------------


def test_a_long_wav_from_a_pipe_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as stream:
        stream.write(wav(b"", size=0xFFFFFFFF, riff=0xFFFFFFFF))
        stream.truncate(3600 * 32_000 + 44)
    assert "is 3600 s long" in refusal(lambda: read(path))


def test_too_long_arrays_and_raw_bytes_are_refused() -> None:
    assert "is 2 s long" in refusal(lambda: read(np.zeros(32_000, np.int16), max_duration_s=1))
    assert "is 2 s long" in refusal(lambda: read(bytes(64_000), 16_000, max_duration_s=1))


# --- what is refused ---------------------------------------------------------------------------------------------

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "text": (b"The quick brown fox.\nJumps.\n", "is a text, not audio"),
    "umlaut-text": ("Größe und Maß".encode(), "is a text, not audio"),
    "zip": (b"PK\x03\x04\x00\x01\x02\xff" * 40, "is not in a known audio format"),
    "empty": (b"", "is empty; record it again"),
    "garbage": (b"fLaC" + bytes(range(200)), "whose header is damaged"),
    "cut": (wav()[:-1_000], "was cut off"),
    "odd-rate": (wav(rate=10), "the rate of"),
    "nan": (encoded(np.array([0.0, np.nan] * 50), 16_000, "WAV", "FLOAT"), "holds NaN or infinite samples"),
}
"""What is wrong with them only the decoder can tell, but for the first; it tells by name."""


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    data, sentence = BAD_FILES[kind]
    path = tmp_path / f"{kind}.wav"
    path.write_bytes(data)
    message = refusal(lambda: read(path))
    assert sentence in message
    assert str(path) in message


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert refusal(lambda: read(tmp_path / "x.wav")).startswith(f"there is no file {tmp_path}/x.wav")
    assert "is a folder, not an audio file" in refusal(lambda: read(tmp_path))
    assert "is a device or socket" in refusal(lambda: read("/dev/zero"))
    assert "cannot be opened" in refusal(lambda: read("a\0b"))


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root, who runs the tests in a container, may read everything

    path = tmp_path / "secret.wav"
    path.write_bytes(wav())
    monkeypatch.setattr(Path, "open", denied)
    assert "may not be read by this user" in refusal(lambda: read(path))


def test_bytes_that_may_be_anything_are_never_taken_for_samples() -> None:
    assert "is a text" in refusal(lambda: read(b"This is not audio at all."))
    assert "is not in a known audio format" in refusal(lambda: read(KNOWN.tobytes()))
    assert "is empty" in refusal(lambda: read(b""))
    assert "is empty" in refusal(lambda: read(b"", 16_000))
    assert "odd number" in refusal(lambda: read(b"abc", 16_000))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(0, np.int16), "holds no samples"),
        (np.zeros((0, 2), np.int16), "holds no samples"),
        (np.zeros((2, 48_000), np.int16), r"has shape (2, 48000)"),
        (np.zeros((10, 2, 2), np.int16), "has shape (10, 2, 2)"),
        (np.zeros((), np.int16), "has shape ()"),
        (np.zeros((10, 0), np.int16), "has shape (10, 0)"),
        (np.zeros(10, np.uint8), "is of type uint8"),
        (np.zeros(10, np.complex64), "is of type complex64"),
        (np.array(["a"]), "is of type <U1"),
        (np.array([0.0, np.nan]), "holds NaN or infinite samples"),
        (np.array([0.0, np.inf], np.float32), "holds NaN or infinite samples"),
        (np.array([0.0, 20_000.0]), "has a peak of 20000; float samples go from -1 to 1"),
    ],
)
def test_a_bad_array_is_refused(array: NDArray[Any], sentence: str) -> None:
    assert sentence in refusal(lambda: read(array))


def test_a_rate_that_no_audio_has_is_refused() -> None:
    for rate_hz in (-1, 0, 10, 10_000_000):
        assert f"is {rate_hz} Hz" in refusal(lambda rate_hz=rate_hz: read(KNOWN, rate_hz))  # type: ignore[misc]
        assert f"is {rate_hz} Hz" in refusal(lambda rate_hz=rate_hz: read(KNOWN.tobytes(), rate_hz))  # type: ignore[misc]


@pytest.mark.parametrize("source", [None, 3, [1, 2, 3]])
def test_what_is_no_audio_at_all_is_refused(source: Any) -> None:
    assert "is not audio; give a path" in refusal(lambda: read(source))


def test_a_file_open_for_text_is_refused() -> None:
    assert "open it with mode 'rb'" in refusal(lambda: read(io.StringIO("text")))  # type: ignore[arg-type]


def test_a_function_that_gives_no_audio_is_refused() -> None:
    assert "the audio function gave a function" in refusal(lambda: read(lambda: lambda: SAMPLE))
    assert "NoneType is not audio" in refusal(lambda: read(lambda: None))  # type: ignore[arg-type]


# --- results -----------------------------------------------------------------------------------------------------


def test_a_result_is_written_as_a_wav_that_everyone_reads(tmp_path: Path) -> None:
    for source in (KNOWN, KNOWN.tobytes()):
        write_wav(tmp_path / "out.wav", source, 22_050)
        with wave.open(str(tmp_path / "out.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
            assert file.readframes(20_000) == KNOWN.tobytes()


def test_writing_to_nowhere_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_wav(tmp_path / "no" / "out.wav", KNOWN, 16_000)
