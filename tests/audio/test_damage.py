"""Good files that are cut, joined and damaged: what comes out is all of it, or a refusal; never silently less."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.audio import Decoded, Limits, decode
from ray_sched.core.errors import Code, SchedError
from tests.audio.odd_audio.catalogue import KINDS, N_SAMPLES, SECONDS, good
from tests.audio.odd_audio.tones import heard, tones_of

ENDLESS = {
    "mp3-no-index",
    "mp2",
    "adts",
    "amr",
    "webm-live",
    "mp4-fragments",
    "mpeg-ts",
    "flv",
    "flac-pipe",
    "ogg-opus",
}
"""Kinds that may end after any frame, page or fragment, so that a cut there cannot be seen."""

CHECKED = ["flac", "flac-pipe", "ogg-opus", "ogg-vorbis", "ogg-flac"]
"""Kinds with check sums, where any changed byte is seen."""

FRAMED = ["mp3", "mp3-no-index", "mp2", "adts", "amr"]
"""Kinds of frames in a row, where a changed byte may be heard, but takes nothing away."""

a_cut = st.floats(0, 1, exclude_max=True)


def tried(data: bytes, *, allow_partial: bool = False) -> Decoded | None:
    """What is heard; None for a refusal that names the audio in one sentence."""
    try:
        return decode(io.BytesIO(data), "x", Limits(), allow_partial=allow_partial)
    except SchedError as error:
        refusal = error
    assert refusal.code is Code.INVALID_AUDIO
    assert "x " in refusal.message
    assert "\n" not in refusal.message
    return None


def spare(*names: str) -> float:
    return sum(1 + (KINDS[name].spare_s + 0.03) * 16_000 for name in names)


@settings(max_examples=150)
@given(name=st.sampled_from([name for name in KINDS if name not in ENDLESS]), share=a_cut)
def test_a_file_that_is_cut_is_whole_or_refused_or_marked(name: str, share: float) -> None:
    data = good(name)
    decoded = tried(data[: int(len(data) * share)])
    if decoded is not None and decoded.report.whole:
        assert len(decoded.samples) >= N_SAMPLES - spare(name)
        assert heard(decoded.samples) == tones_of(SECONDS)


@settings(max_examples=80)
@given(name=st.sampled_from(sorted(ENDLESS)), share=a_cut)
def test_of_a_file_that_may_end_anywhere_all_that_is_there_is_heard(name: str, share: float) -> None:
    data = good(name)
    whole = tried(data)
    part = tried(data[: int(len(data) * share)])
    partly = tried(data[: int(len(data) * share)], allow_partial=True)
    assert whole is not None
    if part is not None:
        assert partly is not None
        assert partly.samples.tobytes() == part.samples.tobytes()
    if partly is not None:
        n_same = max(0, len(partly.samples) - 2_000)
        assert partly.samples[:n_same].tobytes() == whole.samples[:n_same].tobytes()


@settings(max_examples=80)
@given(name=st.sampled_from(list(KINDS)), share=a_cut)
def test_what_is_there_of_a_cut_file_is_the_beginning_of_it(name: str, share: float) -> None:
    data = good(name)
    part = tried(data[: int(len(data) * share)], allow_partial=True)
    if part is not None:
        tones = heard(part.samples[:-1_600])
        assert tones == tones_of(SECONDS)[: len(tones)]


@settings(max_examples=80)
@given(first=st.sampled_from(list(KINDS)), second=st.sampled_from(list(KINDS)))
def test_joined_files_are_both_heard_or_refused(first: str, second: str) -> None:
    decoded = tried(good(first) + good(second))
    if decoded is not None and decoded.report.whole:
        assert len(decoded.samples) >= 2 * N_SAMPLES - spare(first, second)


@settings(max_examples=150)
@given(name=st.sampled_from([*CHECKED, *FRAMED]), share=a_cut, change=st.binary(min_size=1, max_size=64))
def test_a_damaged_file_never_loses_a_piece_silently(name: str, share: float, change: bytes) -> None:
    data = bytearray(good(name))
    at = int(len(data) * share)
    data[at : at + len(change)] = change[: len(data) - at]
    decoded = tried(bytes(data))
    if decoded is not None and decoded.report.whole:
        assert len(decoded.samples) >= N_SAMPLES - spare(name)
    if decoded is not None and decoded.report.whole and name in CHECKED:
        assert heard(decoded.samples) == tones_of(SECONDS)


@settings(max_examples=80)
@given(name=st.sampled_from([*CHECKED, *FRAMED]), share=a_cut, n_lost=st.integers(1, 2_000))
def test_a_hole_in_a_file_never_loses_a_piece_silently(name: str, share: float, n_lost: int) -> None:
    data = good(name)
    at = int(len(data) * share)
    decoded = tried(data[:at] + data[at + n_lost :])
    if decoded is not None and decoded.report.whole and name not in ENDLESS:
        assert len(decoded.samples) >= N_SAMPLES - spare(name)
