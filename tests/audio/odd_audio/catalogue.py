"""One good file of each kind that is read: what the README's table names, and what the tests cut, join and damage."""

from functools import cache

from msgspec import Struct

from tests.audio.odd_audio.encoder import encoded
from tests.audio.odd_audio.tones import melody

SECONDS = 1.5
N_SAMPLES = 24_000
"""At 16 kHz, of a file of SECONDS."""


class Kind(Struct, frozen=True, kw_only=True):
    """How one kind of file is made."""

    row: str
    """The row of the README's table that it proves."""
    container: str
    """As FFmpeg's muxers are called."""
    codec: str
    rate_hz: int
    channels: int = 1
    options: dict[str, str] = {}
    codec_options: dict[str, str] = {}
    bit_rate: int | None = None
    is_seekable: bool = True
    spare_s: float = 0.0
    """By how much longer or shorter the coding makes it: whole frames, and the delay of the encoder."""


KINDS: dict[str, Kind] = {
    "wav-s16": Kind(row="WAV", container="wav", codec="pcm_s16le", rate_hz=16_000),
    "wav-u8": Kind(row="WAV", container="wav", codec="pcm_u8", rate_hz=8_000),
    "wav-s24": Kind(row="WAV", container="wav", codec="pcm_s24le", rate_hz=44_100, channels=2),
    "wav-s32-six": Kind(row="WAV", container="wav", codec="pcm_s32le", rate_hz=48_000, channels=6),
    "wav-f32": Kind(row="WAV", container="wav", codec="pcm_f32le", rate_hz=48_000, channels=2),
    "wav-f64": Kind(row="WAV", container="wav", codec="pcm_f64le", rate_hz=22_050),
    "wav-alaw": Kind(row="WAV", container="wav", codec="pcm_alaw", rate_hz=8_000),
    "wav-mulaw": Kind(row="WAV", container="wav", codec="pcm_mulaw", rate_hz=8_000),
    "wav-adpcm-ms": Kind(row="WAV", container="wav", codec="adpcm_ms", rate_hz=16_000, spare_s=0.07),
    "wav-adpcm-ima": Kind(row="WAV", container="wav", codec="adpcm_ima_wav", rate_hz=16_000, channels=2, spare_s=0.07),
    "rf64": Kind(row="RF64, BW64", container="wav", codec="pcm_s16le", rate_hz=16_000, options={"rf64": "always"}),
    "w64": Kind(row="Wave64", container="w64", codec="pcm_s16le", rate_hz=16_000),
    "flac": Kind(row="FLAC", container="flac", codec="flac", rate_hz=44_100, channels=2),
    "flac-pipe": Kind(row="FLAC", container="flac", codec="flac", rate_hz=16_000, is_seekable=False),
    "mp3": Kind(row="MP3, MP2", container="mp3", codec="libmp3lame", rate_hz=44_100, channels=2, spare_s=0.01),
    "mp3-no-index": Kind(
        row="MP3, MP2",
        container="mp3",
        codec="libmp3lame",
        rate_hz=44_100,
        options={"write_xing": "0"},
        codec_options={"q": "9"},
        spare_s=0.08,
    ),
    "mp2": Kind(row="MP3, MP2", container="mp2", codec="mp2", rate_hz=44_100, channels=2, spare_s=0.06),
    "adts": Kind(row="AAC (ADTS)", container="adts", codec="aac", rate_hz=44_100, channels=2, spare_s=0.08),
    "m4a": Kind(row="MP4, M4A, MOV, 3GP", container="ipod", codec="aac", rate_hz=44_100, spare_s=0.05),
    "m4a-index-first": Kind(
        row="MP4, M4A, MOV, 3GP",
        container="mp4",
        codec="aac",
        rate_hz=44_100,
        options={"movflags": "faststart"},
        spare_s=0.05,
    ),
    "mp4-fragments": Kind(
        row="MP4, M4A, MOV, 3GP",
        container="mp4",
        codec="aac",
        rate_hz=48_000,
        options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000"},
        spare_s=0.05,
    ),
    "m4a-alac": Kind(row="MP4, M4A, MOV, 3GP", container="ipod", codec="alac", rate_hz=44_100, channels=2),
    "3gp": Kind(row="MP4, M4A, MOV, 3GP", container="3gp", codec="libopencore_amrnb", rate_hz=8_000, spare_s=0.05),
    "webm": Kind(row="WebM, Matroska", container="webm", codec="libopus", rate_hz=48_000, spare_s=0.01),
    "webm-live": Kind(
        row="WebM, Matroska",
        container="webm",
        codec="libopus",
        rate_hz=48_000,
        options={"live": "1"},
        is_seekable=False,
        spare_s=0.05,
    ),
    "mkv": Kind(row="WebM, Matroska", container="matroska", codec="flac", rate_hz=44_100, channels=2),
    "ogg-opus": Kind(row="Ogg", container="ogg", codec="libopus", rate_hz=48_000, spare_s=0.001),
    "ogg-vorbis": Kind(
        row="Ogg",
        container="ogg",
        codec="vorbis",
        rate_hz=44_100,
        channels=2,
        codec_options={"strict": "experimental"},
        spare_s=0.02,
    ),
    "ogg-flac": Kind(row="Ogg", container="ogg", codec="flac", rate_hz=44_100),
    "amr": Kind(row="AMR", container="amr", codec="libopencore_amrnb", rate_hz=8_000, bit_rate=12_200, spare_s=0.05),
    "aiff": Kind(row="AIFF", container="aiff", codec="pcm_s16be", rate_hz=44_100, channels=2),
    "aiff-c": Kind(row="AIFF", container="aiff", codec="pcm_s16le", rate_hz=44_100),
    "aiff-f32": Kind(row="AIFF", container="aiff", codec="pcm_f32be", rate_hz=44_100),
    "caf": Kind(row="CAF", container="caf", codec="pcm_s16le", rate_hz=44_100, channels=2),
    "caf-alac": Kind(row="CAF", container="caf", codec="alac", rate_hz=44_100),
    "au": Kind(row="AU", container="au", codec="pcm_s16be", rate_hz=44_100, channels=2),
    "au-mulaw": Kind(row="AU", container="au", codec="pcm_mulaw", rate_hz=8_000),
    "wma": Kind(row="WMA", container="asf", codec="wmav2", rate_hz=44_100, channels=2, bit_rate=128_000, spare_s=0.05),
    "avi": Kind(row="AVI", container="avi", codec="pcm_s16le", rate_hz=44_100, channels=2),
    "flv": Kind(row="FLV", container="flv", codec="aac", rate_hz=44_100, channels=2, spare_s=0.08),
    "mpeg-ts": Kind(row="MPEG streams", container="mpegts", codec="aac", rate_hz=44_100, channels=2, spare_s=0.08),
    "mpeg-ps": Kind(row="MPEG streams", container="mpeg", codec="mp2", rate_hz=44_100, channels=2, spare_s=0.06),
}


@cache
def good(name: str, seconds: float = SECONDS) -> bytes:
    """A whole file of a kind."""
    kind = KINDS[name]
    return encoded(
        melody(seconds, kind.rate_hz, kind.channels),
        kind.rate_hz,
        kind.container,
        kind.codec,
        options=kind.options,
        codec_options=kind.codec_options,
        bit_rate=kind.bit_rate,
        is_seekable=kind.is_seekable,
    )
