import io

import pytest

from ray_sched.audio import Limits, decode, duration_of
from tests.audio.odd_audio.catalogue import KINDS, N_SAMPLES, SECONDS, good
from tests.audio.odd_audio.tones import heard, tones_of

OPEN_ENDED = {"mpeg-ps", "flac-pipe"}
"""FFmpeg ends these without the end mark that they have."""


@pytest.mark.parametrize("name", KINDS)
def test_all_of_every_kind_of_file_is_heard(name: str) -> None:
    kind = KINDS[name]
    decoded = decode(io.BytesIO(good(name)), name, Limits())
    assert heard(decoded.samples) == tones_of(SECONDS)
    assert abs(len(decoded.samples) - N_SAMPLES) <= 1 + kind.spare_s * 16_000
    report = decoded.report
    assert (report.source_rate_hz, report.channels) == (kind.rate_hz, kind.channels)
    assert report.whole == (name not in OPEN_ENDED)
    assert -20 < report.level_db < -8


@pytest.mark.parametrize("name", KINDS)
def test_a_duration_that_is_known_beforehand_is_the_one_that_is_heard(name: str) -> None:
    stream = io.BytesIO(good(name))
    before_s = duration_of(stream, name, Limits())
    stream.seek(0)
    assert before_s == 0.0 or abs(before_s - decode(stream, name, Limits()).report.duration_s) < 0.1
