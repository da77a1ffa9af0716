"""How much of anything is taken. Memory is that of a process of its own, which does nothing else."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_sched.audio import Blocks, Limits, RawFormat, decode
from ray_sched.core.errors import Code, SchedError
from tests.audio.odd_audio.catalogue import good
from tests.audio.odd_audio.encoder import encoded
from tests.audio.odd_audio.wav import PCM, chunk, fmt, riff, wav

DECODES = """
import resource, sys
from ray_sched.audio import Blocks, Limits
def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as stream:
    before = peak_kib()
    n_samples = 0
    try:
        for block in Blocks(stream, "x", Limits(max_duration_s=float(sys.argv[2]))):
            n_samples += len(block)
    except Exception as error:
        print(error)
    print(n_samples, (peak_kib() - before) // 1024)
"""


def heard_in_a_process(path: Path, max_duration_s: float) -> tuple[int, int, str]:
    """Samples, MiB that it took, and the refusal."""
    arguments = [sys.executable, "-c", DECODES, str(path), str(max_duration_s)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    *refusal, last = ended.stdout.splitlines()
    n_samples, mib = map(int, last.split())
    return n_samples, mib, " ".join(refusal)


def refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(SchedError) as caught:
        decode(io.BytesIO(data), "x", limits or Limits())
    assert caught.value.code is Code.INVALID_AUDIO
    return caught.value.message


def test_two_hours_take_the_memory_of_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    size = 2 * 3600 * 32_000
    with path.open("wb") as stream:
        stream.write(wav(b"", riff_size=36 + size, data_size=size))
        stream.truncate(44 + size)
    n_samples, mib, _ = heard_in_a_process(path, 3 * 3600)
    assert n_samples == 2 * 3600 * 16_000
    assert mib < 40


def test_eight_channels_at_a_high_rate_take_the_memory_of_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "high.flac"
    path.write_bytes(encoded(np.broadcast_to(np.float32(0), (384_000 * 30, 8)), 384_000, "flac", "flac"))
    assert path.stat().st_size < 100_000, "silence is small, and 370 MB once it is decoded"
    n_samples, mib, _ = heard_in_a_process(path, 600)
    assert n_samples == 30 * 16_000
    assert mib < 150


def test_a_rate_that_no_audio_has_is_refused_before_it_is_decoded() -> None:
    flac = bytearray(good("flac"))
    packed = int.from_bytes(flac[18:26], "big") & ((1 << 44) - 1) | 655_350 << 44
    flac[18:26] = packed.to_bytes(8, "big")
    assert refusal(bytes(flac)) == "the rate of x is 655350 Hz; it must be from 1000 to 384000 Hz"
    assert "the rate of x is 10 Hz" in refusal(riff(fmt(rate_hz=10) + chunk(b"data", PCM)))


def test_channels_are_limited_and_so_is_their_number_times_the_rate() -> None:
    assert refusal(riff(fmt(channels=65) + chunk(b"data", PCM))) == "x has 65 channels; give one with 1 to 64"
    assert "x has 0 channels" in refusal(riff(fmt(channels=0) + chunk(b"data", PCM)))
    many = riff(fmt(channels=32, rate_hz=192_000) + chunk(b"data", PCM))
    assert refusal(many) == "x has 32 channels at 192000 Hz, too many at once; give fewer, or a lower rate"


def test_a_small_file_that_claims_three_thousand_million_samples_is_refused_by_its_header() -> None:
    flac = bytearray(good("flac"))
    packed = int.from_bytes(flac[18:26], "big") & ~((1 << 36) - 1) | 3_000_000_000
    flac[18:26] = packed.to_bytes(8, "big")
    assert refusal(bytes(flac)) == "x is 68027 s long and at most 600 s are taken; cut it into parts"


def test_a_small_file_that_is_long_is_decoded_up_to_the_limit_only() -> None:
    silence = np.broadcast_to(np.float32(0), (48_000 * 120, 1))
    data = encoded(silence, 48_000, "flac", "flac", is_seekable=False)
    assert len(data) < 50_000
    blocks = Blocks(io.BytesIO(data), "x", Limits(max_duration_s=20))
    given: list[int] = []
    with pytest.raises(SchedError, match="at most 20 s are taken; cut it into parts"):
        given.extend(len(block) for block in blocks)
    assert sum(given) <= 20 * 16_000


def test_a_pipe_that_never_ends_is_left_at_the_limit() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.n_read = 0

        def read(self, size: int = -1, /) -> bytes:
            self.n_read += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(SchedError, match="x holds more than 8 MiB; cut it into parts"):
        decode(endless, "x", Limits(max_source_bytes=2**23), raw=RawFormat(16_000))  # type: ignore[arg-type]
    assert endless.n_read <= 2**23 + 2**18


def test_a_pipe_that_gives_little_at_a_time_is_read_to_its_end() -> None:
    class Dribbling(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._left = io.BytesIO(data)

        def read(self, size: int = -1, /) -> bytes:
            return self._left.read(min(size, 999) if size >= 0 else 999)

    assert decode(Dribbling(wav()), "x", Limits()).samples.tobytes() == PCM  # type: ignore[arg-type]


def test_a_file_that_gives_little_at_a_time_is_read_to_its_end() -> None:
    class Dribbling(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(999 if size is None or size < 0 else min(size, 999))

    for name in ("wav-s16", "mp3", "ogg-opus", "flac", "m4a"):
        whole = decode(io.BytesIO(good(name)), "x", Limits()).samples
        assert decode(Dribbling(good(name)), "x", Limits()).samples.tobytes() == whole.tobytes()


def test_too_many_pieces_are_refused() -> None:
    assert "more than 1000 joined files" in refusal(wav(PCM[:2]) * 1_002)
    amr = b"#!AMR\n" + bytes([0x3C]) + bytes(31)
    assert "more than 1000 joined AMR files" in refusal(amr * 1_002)


# --- samples without a header --------------------------------------------------------------------------------------


def test_raw_samples_are_what_the_caller_says() -> None:
    assert decode(io.BytesIO(PCM), "x", Limits(), raw=RawFormat(16_000)).samples.tobytes() == PCM
    assert len(decode(io.BytesIO(PCM), "x", Limits(), raw=RawFormat(8_000)).samples) == len(PCM)
    values = np.arange(256, dtype=np.uint8).tobytes()
    mulaw = decode(io.BytesIO(values), "x", Limits(), raw=RawFormat(16_000, "mulaw")).samples
    assert [mulaw[i] for i in (0, 127, 128, 255)] == [-32_124, 0, 32_124, 0]
    alaw = decode(io.BytesIO(values), "x", Limits(), raw=RawFormat(16_000, "alaw")).samples
    assert [alaw[i] for i in (0x55, 0xD5, 0x2A, 0xAA)] == [-8, 8, -32_256, 32_256]


def test_an_odd_number_of_bytes_is_a_sample_cut_in_two() -> None:
    stream = io.BytesIO(PCM + b"\1")
    with pytest.raises(SchedError, match="x has 48001 bytes, an odd number, and raw samples have 16 bits each"):
        decode(stream, "x", Limits(), raw=RawFormat(16_000))
    partly = decode(stream, "x", Limits(), raw=RawFormat(16_000), allow_partial=True)
    assert partly.samples.tobytes() == PCM
    assert not partly.report.whole


def test_raw_samples_have_limits_too() -> None:
    for raw, data, sentence in (
        (RawFormat(16_000), b"", "x is empty; give at least one sample"),
        (RawFormat(10), PCM, "the rate of x is 10 Hz"),
        (RawFormat(1_000, "alaw"), bytes(601_000), "x is 601 s long"),
    ):
        with pytest.raises(SchedError, match=sentence):
            decode(io.BytesIO(data), "x", Limits(), raw=raw)


def test_a_moment_that_is_less_than_a_sample_is_no_audio() -> None:
    short = riff(fmt(rate_hz=192_000) + chunk(b"data", struct.pack("<hh", 100, 100)))
    assert refusal(short) == "x is shorter than a sixteenth of a millisecond; record it again"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xff\xfb\x50\xc0" + b"\xff" * 1_100_000, "begins like an MP3 and goes on as something else"),
        (b"\xff\xf1\x60\x40\x01\x1f\xfc" + bytes(1) + b"OggS" * 20, "not in a known audio format"),
        (b"\xff\xf1\x40\x40\x01\x1f\xfc\x00" * 100_000, "at most 600 s are taken"),
        (b"#!AMR\n" + b"\x7c" * 100_000, "at most 600 s are taken"),
        (b"OggS" * 5_000, "or 1000 damaged ones"),
        (b"#!AMR_MC1.0\n" + bytes(100), "AMR with several channels"),
    ],
    ids=["sync bytes", "one frame", "tiny frames", "frames of nothing", "headers of pages", "AMR of many channels"],
)
def test_what_would_cost_much_and_give_nothing_is_given_up(data: bytes, sentence: str) -> None:
    assert sentence in refusal(data)
