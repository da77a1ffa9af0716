import io
import struct

import numpy as np
import pytest

from ray_sched.audio import Decoded, Limits, decode
from ray_sched.core.errors import Code, SchedError
from tests.audio.odd_audio.wav import INFO, PCM, REPAIRED, SOUND, chunk, fmt, riff, wav


def heard(data: bytes, *, allow_partial: bool = False) -> Decoded:
    return decode(io.BytesIO(data), "x.wav", Limits(), allow_partial=allow_partial)


def refusal(data: bytes, *, allow_partial: bool = False) -> str:
    with pytest.raises(SchedError) as caught:
        heard(data, allow_partial=allow_partial)
    assert caught.value.code is Code.INVALID_AUDIO
    assert caught.value.message.startswith("x.wav ")
    return caught.value.message


@pytest.mark.parametrize("name", REPAIRED)
def test_a_length_that_is_wrong_is_not_believed(name: str) -> None:
    data, note = REPAIRED[name]
    decoded = heard(data)
    assert decoded.samples.tobytes() == PCM
    assert note in " ".join(decoded.report.notes)
    assert decoded.report.whole == (not name.startswith("killed"))


@pytest.mark.parametrize("name", SOUND)
def test_what_is_right_is_read_without_a_note(name: str) -> None:
    decoded = heard(SOUND[name])
    assert decoded.samples.tobytes() == PCM
    assert (decoded.report.notes, decoded.report.whole) == ((), True)


@pytest.mark.parametrize("n_lost", [1, 2, 8, 44, 1_000, 40_000])
@pytest.mark.parametrize("tail", [b"", chunk(b"LIST", INFO)], ids=["audio last", "a chunk last"])
def test_a_file_that_is_cut_off_is_refused_or_taken_and_marked(n_lost: int, tail: bytes) -> None:
    data = wav(tail=tail)[: 44 + len(PCM) - n_lost]
    there = len(PCM) - n_lost
    assert refusal(data) == (
        f"x.wav claims 48000 bytes in its header but has {there}, it was cut off or damaged;"
        " copy it again, or take what is there with allow_partial"
    )
    partly = heard(data, allow_partial=True)
    assert partly.samples.tobytes() == PCM[: there // 2 * 2]
    assert not partly.report.whole
    assert f"it claims 48000 bytes in its header but has {there}, it was cut off or damaged" in partly.report.notes


@pytest.mark.parametrize(
    "first",
    [wav(), wav(riff_size=0xFFFFFFFF, data_size=0xFFFFFFFF), wav(riff_size=0)],
    ids=["right", "from a pipe", "without the length of the file"],
)
def test_joined_files_are_all_read(first: bytes) -> None:
    eight = riff(fmt(rate_hz=8_000) + chunk(b"data", PCM))
    decoded = heard(first + wav() + eight)
    assert decoded.samples[:48_000].tobytes() == PCM + PCM
    assert len(decoded.samples) == 48_000 + 48_000
    assert "it is 3 joined files; all of them were read" in decoded.report.notes
    cut = (first + eight)[:-100]
    assert "was cut off" in refusal(cut)


def test_a_header_without_audio_is_refused() -> None:
    for data in (wav(b""), wav()[:20], b"RIFF", wav(b"", tail=chunk(b"LIST", INFO))):
        assert "is a WAV header without audio" in refusal(data, allow_partial=True)
    assert "description of its format" in refusal(riff(chunk(b"data", PCM)))


def test_chunks_without_end_are_refused() -> None:
    assert "more than 10000 chunks" in refusal(riff(fmt() + chunk(b"JUNK", b"") * 10_001 + chunk(b"data", PCM)))


def test_a_header_that_claims_ten_hours_of_nothing_is_refused_at_once() -> None:
    claims = riff(fmt() + chunk(b"data", PCM, size=10 * 3600 * 32_000), size=36 + 10 * 3600 * 32_000)
    assert "claims 1152000000 bytes in its header but has 48000" in refusal(claims)


def test_an_rf64_says_its_length_elsewhere() -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 72 + len(PCM), len(PCM), len(PCM) // 2, 0))
    data = riff(ds64 + fmt() + chunk(b"data", PCM, size=0xFFFFFFFF), size=0xFFFFFFFF, magic=b"RF64")
    assert heard(data).samples.tobytes() == PCM
    assert heard(data).report.container == "rf64"
    assert "has 47000" in refusal(data[:-1_000])
    assert heard(data + wav()).samples.tobytes() == PCM + PCM


def test_samples_of_twenty_bits_are_those_of_the_bytes_they_stand_in() -> None:
    wide = np.frombuffer(PCM, "<i2").astype("<i4") << 16
    packed = wide.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    description = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 48_000, 3, 20))
    assert heard(riff(description + chunk(b"data", packed))).samples.tobytes() == PCM
