"""WAV files by hand, whose lengths may be wrong as recorders, browsers and services leave them."""

import struct

import numpy as np

from tests.audio.odd_audio.tones import melody

SECONDS = 1.5
PCM = np.rint(melody(SECONDS)[:, 0] * 32767).astype("<i2").tobytes()
"""16 kHz, mono, 16 bit."""


def fmt(*, tag: int = 1, channels: int = 1, rate_hz: int = 16_000, bits: int = 16, extra: bytes = b"") -> bytes:
    """A chunk that describes the format."""
    align = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * align, align, bits) + extra)


def chunk(name: bytes, body: bytes, *, size: int | None = None, pads: bool = True) -> bytes:
    """A chunk with its length, or with another."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (pads and len(body) % 2)


def riff(body: bytes, *, size: int | None = None, magic: bytes = b"RIFF") -> bytes:
    """A file of these chunks."""
    return magic + struct.pack("<I", len(body) + 4 if size is None else size) + b"WAVE" + body


def wav(data: bytes = PCM, *, riff_size: int | None = None, data_size: int | None = None, tail: bytes = b"") -> bytes:
    """A plain file whose two lengths may be wrong."""
    return riff(fmt() + chunk(b"data", data, size=data_size) + tail, size=riff_size)


INFO = b"INFOISFT" + struct.pack("<I", 13) + b"Lavf58.29.100"
"""Of odd length."""
_TAG = b"ID3\x03\0\0\0\0\0\x10" + b"TIT2\0\0\0\x06\0\0\0hello"

REPAIRED: dict[str, tuple[bytes, str]] = {
    "killed: both lengths never set": (wav(riff_size=0, data_size=0), "does not say how long"),
    "killed: the header's own length": (wav(riff_size=36, data_size=0), "does not say how long"),
    "killed: a filler chunk before it": (
        riff(fmt() + chunk(b"FLLR", bytes(4044)) + chunk(b"data", PCM, size=0), size=4088),
        "does not say how long",
    ),
    "a pipe: all ones": (wav(riff_size=0xFFFFFFFF, data_size=0xFFFFFFFF), "does not say how long"),
    "a pipe: as eSpeak writes": (wav(riff_size=0x7FFFF024, data_size=0x7FFFF000), "does not say how long"),
    "the first block only": (wav(riff_size=36 + 4096, data_size=4096), "covers 4096 of 48000 bytes"),
    "the file's length does not leave out 8": (wav(riff_size=44 + len(PCM)), "length of the file"),
    "the file's length is 0": (wav(riff_size=0), "length of the file"),
    "the file's length is unknown": (wav(riff_size=0xFFFFFFFF), "length of the file"),
    "the audio's length is the file's": (wav(data_size=44 + len(PCM)), "length of the audio"),
    "both lengths are the file's": (
        wav(riff_size=44 + len(PCM), data_size=44 + len(PCM)),
        "length of the audio",
    ),
    "an odd chunk without padding": (
        riff(fmt() + chunk(b"LIST", INFO, pads=False) + chunk(b"data", PCM)),
        "lacks its padding",
    ),
    "a chunk whose length is wrong": (
        riff(fmt() + chunk(b"LIST", INFO, size=9_999_999) + chunk(b"data", PCM)),
        "length of a chunk before the audio is wrong",
    ),
    "a byte-order mark": (b"\xef\xbb\xbf" + wav(), "3 bytes before its header"),
    "an empty line": (b"\r\n" + wav(), "2 bytes before its header"),
    "an ID3 tag": (_TAG + wav(), "bytes before its header"),
    "cut after the audio": (wav(tail=chunk(b"LIST", INFO))[:-4], ""),
}
"""Files whose audio is whole, and what is noted of each."""

SOUND: dict[str, bytes] = {
    "plain": wav(),
    "an odd chunk": riff(fmt() + chunk(b"LIST", INFO) + chunk(b"data", PCM)),
    "a chunk behind": wav(tail=chunk(b"LIST", INFO)),
    "a chunk behind that nobody knows": wav(tail=chunk(b"abcd", b"efgh")),
    "a tag behind": wav() + b"TAG" + bytes(125),
    "big-endian": b"RIFX"
    + struct.pack(">I", 36 + len(PCM))
    + b"WAVEfmt "
    + struct.pack(">IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    + b"data"
    + struct.pack(">I", len(PCM))
    + np.frombuffer(PCM, "<i2").astype(">i2").tobytes(),
    "extensible": riff(
        fmt(tag=0xFFFE, extra=struct.pack("<HHIH", 22, 16, 4, 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
        + chunk(b"data", PCM)
    ),
}
"""Files with nothing to be noted."""
