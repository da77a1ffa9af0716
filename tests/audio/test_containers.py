import io
import logging
import subprocess
import sys

import numpy as np
import pytest

from ray_sched.audio import Decoded, Limits, decode
from ray_sched.core.errors import Code, SchedError
from tests.audio.odd_audio.catalogue import N_SAMPLES, SECONDS, good
from tests.audio.odd_audio.encoder import encoded, video
from tests.audio.odd_audio.mp3 import frame, index
from tests.audio.odd_audio.ogg import pages, sealed, without_end_mark
from tests.audio.odd_audio.tones import heard, melody, tones_of


def taken(data: bytes, *, allow_partial: bool = False) -> Decoded:
    return decode(io.BytesIO(data), "x", Limits(), allow_partial=allow_partial)


def refusal(data: bytes, limits: Limits | None = None, *, allow_partial: bool = False) -> str:
    with pytest.raises(SchedError) as caught:
        decode(io.BytesIO(data), "x", limits or Limits(), allow_partial=allow_partial)
    assert caught.value.code is Code.INVALID_AUDIO
    return caught.value.message


# --- Ogg ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ogg-opus", "ogg-vorbis"])
def test_a_recorder_that_was_killed_leaves_audio_that_is_taken_and_marked(name: str) -> None:
    decoded = taken(without_end_mark(good(name)))
    assert heard(decoded.samples) == tones_of(SECONDS)
    assert not decoded.report.whole
    assert "it ends without an end mark, so it may not be whole" in decoded.report.notes


@pytest.mark.parametrize("name", ["ogg-opus", "ogg-vorbis", "ogg-flac"])
def test_a_cut_in_the_middle_of_an_ogg_page_is_noticed(name: str) -> None:
    cut = good(name)[:-100]
    assert "ends in the middle of a page, it was cut off or damaged" in refusal(cut)
    partly = taken(cut, allow_partial=True)
    assert not partly.report.whole
    assert 0 < len(partly.samples) < N_SAMPLES + 400


def test_a_page_that_is_missing_inside_is_noticed() -> None:
    data = encoded(melody(4.0, 48_000), 48_000, "ogg", "libopus", options={"page_duration": "200000"})
    parts = pages(data)
    assert len(parts) > 6
    assert "lacks pages inside" in refusal(b"".join([*parts[:4], *parts[5:]]))
    assert "has a damaged page" in refusal(b"".join([*parts[:4], parts[4][:-1] + b"\0", *parts[5:]]))
    assert "belong to none" in refusal(b"".join([*parts[:4], b"\0\1\2\3", *parts[4:]]))


def test_chained_ogg_of_several_kinds_is_heard_to_its_end() -> None:
    decoded = taken(good("ogg-opus") + good("ogg-vorbis") + good("ogg-flac"))
    assert heard(decoded.samples) == tones_of(SECONDS) * 3
    assert "it is 3 joined Ogg files; all of them were read" in decoded.report.notes


def test_two_hundred_channels_are_refused_before_anything_is_decoded() -> None:
    first, *others = pages(good("ogg-vorbis"))
    many = sealed(first[: 28 + 11] + bytes([200]) + first[28 + 12 :])
    assert refusal(b"".join([many, *others])) == "x has 200 channels; give one with 1 to 64"


# --- MPEG audio --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "n_frames"),
    [
        (frame(320) * 38 + frame(32) * 600, 638),
        (frame(32) * 38 + frame(320) * 300, 338),
        (frame(32) * 4 + frame(320) * 700, 704),
    ],
    ids=["loud first", "soft first", "an estimate of ten minutes"],
)
def test_frames_are_counted_and_not_estimated_from_the_first_of_them(data: bytes, n_frames: int) -> None:
    assert abs(taken(data).report.duration_s - n_frames * 1152 / 44_100) < 0.06


def test_an_index_is_compared_with_the_frames_that_are_there() -> None:
    whole = index(100) + frame(64) * 100
    assert taken(whole).report.whole
    assert "claims 100 frames and holds 60, it was cut off or damaged" in refusal(whole[: len(frame(64)) * 61])


def test_the_index_of_the_first_of_joined_files_does_not_end_them() -> None:
    joined = index(38) + frame(64) * 38 + index(300) + frame(64) * 300
    decoded = taken(joined)
    assert abs(decoded.report.duration_s - 340 * 1152 / 44_100) < 0.2
    assert decoded.report.whole
    tagged = frame(64) * 38 + b"ID3\x03\0\0\0\0\0\x05hello" + frame(64) * 38 + b"TAG" + bytes(125)
    assert abs(taken(tagged).report.duration_s - 76 * 1152 / 44_100) < 0.1


@pytest.mark.parametrize(
    "before",
    [bytes(417), b"ID3\x03\0\0\0\0\0\x10" + b"TIT2\0\0\0\x06\0\0\0hello" + bytes(2_048)],
    ids=["zeros", "a tag whose padding is not counted"],
)
def test_what_stands_before_the_first_frame_is_left_out(before: bytes) -> None:
    decoded = taken(before + frame(64) * 100)
    assert abs(decoded.report.duration_s - 100 * 1152 / 44_100) < 0.06
    assert decoded.report.whole


# --- MP4 ---------------------------------------------------------------------------------------------------------


def test_an_mp4_without_its_index_is_refused_with_the_reason() -> None:
    data = good("m4a")
    assert "has no index, so its sound cannot be found" in refusal(data[:-10], allow_partial=True)


def test_fragments_are_heard_up_to_the_one_that_is_cut() -> None:
    data = good("mp4-fragments")
    cut = data[: data.rindex(b"moof") - 200]
    assert "it was cut off" in refusal(cut)
    partly = taken(cut, allow_partial=True)
    tones = heard(partly.samples)
    assert 5 <= len(tones) < len(tones_of(SECONDS))
    assert tones == tones_of(SECONDS)[: len(tones)]
    assert not partly.report.whole


def test_a_fragment_that_is_left_out_leaves_a_gap_that_is_noted() -> None:
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "300000"}
    data = encoded(melody(SECONDS, 48_000), 48_000, "mp4", "aac", options=options)
    second, third = [at - 4 for at in range(len(data)) if data[at : at + 4] == b"moof"][1:3]
    decoded = taken(data[:second] + data[third:])
    assert len(decoded.samples) < N_SAMPLES - 3_000
    assert not decoded.report.whole
    assert decoded.report.notes == ("there is nothing in it from 0.3 to 0.6 s",)


def test_fewer_samples_than_the_header_tells_of_are_noted() -> None:
    data = good("m4a")
    at = data.index(b"stsz") + 12
    n_packets = int.from_bytes(data[at : at + 4], "big")
    decoded = taken(data[:at] + (n_packets // 2).to_bytes(4, "big") + data[at + 4 :])
    assert len(decoded.samples) < N_SAMPLES * 2 // 3
    assert not decoded.report.whole
    assert decoded.report.notes[0].startswith("its header tells of 1.5 s, and 0.")


# --- WebM --------------------------------------------------------------------------------------------------------


def test_a_block_at_which_ffmpeg_ends_is_damage_and_not_the_end() -> None:
    data = bytearray(good("webm"))
    block = data.index(b"\xa3\x40", len(data) // 2)
    data[block + 3] = 0x8F
    assert "is damaged inside" in refusal(bytes(data))
    assert not taken(bytes(data), allow_partial=True).report.whole


def test_joined_webm_files_are_both_heard() -> None:
    decoded = taken(good("webm") + good("webm-live"))
    assert heard(decoded.samples) == tones_of(SECONDS) * 2
    assert "it is 2 joined WebM files; all of them were read" in decoded.report.notes


def test_the_first_sound_of_a_video_is_heard() -> None:
    assert heard(taken(video(melody(SECONDS, 44_100), 44_100)).samples) == tones_of(SECONDS)


def test_a_video_without_sound_is_refused() -> None:
    assert "has no sound in it" in refusal(video(None, 44_100))


# --- AMR ---------------------------------------------------------------------------------------------------------


def test_a_phone_that_sends_silence_as_a_description_of_it_is_heard_to_its_end() -> None:
    noise = np.random.default_rng(0).normal(0, 0.0005, (8_000, 1)).astype(np.float32)
    audio = np.concatenate([melody(0.5, 8_000), noise, melody(0.5, 8_000)])
    options = {"dtx": "1"}
    data = encoded(audio, 8_000, "amr", "libopencore_amrnb", bit_rate=12_200, codec_options=options)
    assert len(data) < 3_000, "a second of silence is a few bytes"
    decoded = taken(data)
    assert abs(decoded.report.duration_s - 2.0) < 0.05
    assert heard(decoded.samples)[:5] == tones_of(0.5)


def test_wide_band_frames_of_every_kind_take_their_twenty_milliseconds() -> None:
    speech, silence, nothing = bytes([0x44]) + bytes(60), bytes([0x4C]) + bytes(5), bytes([0x7C])
    data = b"#!AMR-WB\n" + (speech * 10 + silence + nothing * 7) * 5
    assert len(taken(data).samples) == 90 * 320
    assert taken(data).report.codec == "amr_wb"
    assert "2 bytes at its end that are no whole frame" in refusal(data + silence[:2])
    assert len(taken(data + b"#!AMR\n" + bytes([0x3C]) + bytes(31)).samples) == 91 * 320


# --- what is no audio --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "x is empty; record it again"),
        (b"The quick brown fox.\n", "is a text, not audio"),
        ("\nGröße und Maß".encode(), "is a text, not audio"),
        ("Guten Tag, das ist kein Ton.\r\n".encode("utf-16") * 40, "is a text, not audio"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "is a text, not audio"),
        (b"PK\x03\x04\x00\x01\x02\xff" * 40, "is not in a known audio format"),
        (bytes(10_000), "is not in a known audio format"),
        (b"\xff\xfb" + bytes(5_000), "is not in a known audio format"),
        (b"RIFF\x04\0\0\0WEBP" + bytes(100), "without audio"),
    ],
    ids=["nothing", "text", "umlauts", "UTF-16", "a playlist", "a zip", "zeros", "a sync word", "a picture"],
)
def test_what_is_no_audio_is_refused_by_name(data: bytes, sentence: str) -> None:
    assert sentence in refusal(data, allow_partial=True)


def test_nothing_is_printed_or_logged_about_a_damaged_file(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    program = """
import io, sys
from ray_sched.audio import Limits, decode
try:
    decode(io.BytesIO(sys.stdin.buffer.read()), "x", Limits())
except Exception as error:
    print(type(error).__name__)
"""
    data = bytearray(good("flac"))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xaa\x55" * 20
    ended = subprocess.run([sys.executable, "-c", program], input=bytes(data), capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"SchedError\n", b"")
    refusal(bytes(data))
    assert caplog.records == []
