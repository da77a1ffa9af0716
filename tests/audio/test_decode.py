import io

import numpy as np
import pytest

from ray_sched.audio import Blocks, Limits, RawFormat, decode, decode_array
from ray_sched.core.errors import SchedError
from ray_sched.data import samples

SAMPLE = samples()[1].path
"""48 000-sample WAV, 16 kHz mono."""


def test_a_decoded_file_says_what_it_was() -> None:
    with SAMPLE.open("rb") as stream:
        decoded = decode(stream, "hello.wav", Limits())
    assert decoded.samples.tolist() == np.frombuffer(SAMPLE.read_bytes()[-2 * len(decoded.samples) :], "<i2").tolist()
    report = decoded.report
    assert (report.codec, report.source_rate_hz, report.channels, report.whole) == ("pcm_s16le", 16_000, 1, True)
    assert report.samples == len(decoded.samples)
    assert report.duration_s == len(decoded.samples) / 16_000
    assert report.notes == ()


def test_blocks_are_the_same_samples_and_their_report_comes_last() -> None:
    long = np.arange(-16_000, 16_000, dtype="<i2").repeat(8)
    blocks = Blocks(io.BytesIO(long.tobytes()), "raw", Limits(), raw=RawFormat(16_000))
    with pytest.raises(RuntimeError, match="after the last block"):
        _ = blocks.report
    given = list(blocks)
    assert len(given) > 2
    assert np.array_equal(np.concatenate(given), long)
    assert blocks.report.samples == len(long)


def test_an_array_is_heard_like_a_file() -> None:
    heard = decode_array(np.zeros((4_800, 2), np.float32), 48_000, "the array", Limits())
    assert len(heard.samples) == 1_600
    assert heard.report.level_db == -np.inf
    with pytest.raises(SchedError, match="the array holds no samples"):
        decode_array(np.zeros(0, np.int16), 16_000, "the array", Limits())
