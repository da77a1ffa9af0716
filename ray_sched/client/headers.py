"""What the first bytes of an audio tell without decoding: whether it is plain WAV, and about how long it is.

Only the plainest WAV is read here, at a hundredth of what a decoder costs. Whatever is the least bit different is left
to the decoder, in its process.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_sched.audio.refusals import invalid
from ray_sched.audio.sniff import has_header, is_text
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

HEAD_BYTES = 4096
PLAIN_HEADER_BYTES = 44
_PLAIN = struct.Struct("<4sI4s4sIHHIIHH4sI")
_COMPRESSED_BYTES_PER_MS = 8
"""64 kbit/s, as speech and music have within a factor of four."""
_FILM_BYTES_PER_MS = 32
"""256 kbit/s, between an M4A's and a small video's."""
_COMPRESSED = (b"OggS", b"ID3", b"#!AMR")
_FILMS = (b"\x1a\x45\xdf\xa3", b"0&\xb2u", b"FLV", b"\0\0\1\xba")


def is_plain(head: bytes, n_bytes: int) -> bool:
    """Whether a file of so many bytes is WAV of 16 kHz, mono, 16 bit, and every length in it is right."""
    n_data = n_bytes - PLAIN_HEADER_BYTES
    if n_data <= 0 or n_data % BYTES_PER_SAMPLE or len(head) < PLAIN_HEADER_BYTES:
        return False
    rate = SAMPLE_RATE_HZ
    pcm = (16, 1, 1, rate, rate * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 8 * BYTES_PER_SAMPLE)
    return _PLAIN.unpack_from(head) == (b"RIFF", n_bytes - 8, b"WAVE", b"fmt ", *pcm, b"data", n_data)


def plain_samples(data: bytes) -> Samples:
    """The samples of a plain WAV, without a copy."""
    return np.frombuffer(data, np.dtype("<i2"), offset=PLAIN_HEADER_BYTES)


def check_head(head: bytes, name: str) -> None:
    """Raises SchedError INVALID_AUDIO for what nobody takes for audio."""
    if not head:
        raise invalid(f"{name} is empty; record it again")
    if not has_header(head) and is_text(head):
        raise invalid(f"{name} is a text, not audio; give an audio file, or raw samples together with sample_rate_hz")


def duration_ms(head: bytes, n_bytes: int) -> int:
    """About how long a file of so many bytes is, by its first HEAD_BYTES; 0 if they do not tell.

    Compressed audio is estimated. It is for placement and for the time that reading may take, and is put right when the
    audio is decoded.
    """
    if head[:4] in {b"RIFF", b"RIFX"}:
        return _riff_ms(head, n_bytes)
    if head[:4] == b"fLaC":
        return _flac_ms(head)
    if head.startswith(_FILMS) or head[4:8] == b"ftyp":
        return n_bytes // _FILM_BYTES_PER_MS
    is_compressed = head.startswith(_COMPRESSED) or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    return n_bytes // _COMPRESSED_BYTES_PER_MS if is_compressed else 0


def _riff_ms(head: bytes, n_bytes: int) -> int:
    order = ">" if head[:4] == b"RIFX" else "<"
    at, byte_rate = 12, 0
    while at + 8 <= len(head):
        name, size = head[at : at + 4], struct.unpack_from(order + "I", head, at + 4)[0]
        at += 8
        if name == b"fmt " and at + 12 <= len(head):
            byte_rate = struct.unpack_from(order + "I", head, at + 8)[0]
        if name == b"data":
            return (n_bytes - at) * 1000 // byte_rate if byte_rate else 0
        at += size + size % 2
    return 0


def _flac_ms(head: bytes) -> int:
    """From STREAMINFO: 20 bits of rate, 8 of the rest, 36 of samples, from the tenth byte of the block on."""
    bits = int.from_bytes(head[18:26], "big")
    rate_hz, n_samples = bits >> 44, bits & (2**36 - 1)
    return n_samples * 1000 // rate_hz if rate_hz else 0


def samples_of_raw(data: bytes, name: str) -> NDArray[Any]:
    """Raw 16-bit samples, without a copy. Raises SchedError INVALID_AUDIO."""
    if len(data) % BYTES_PER_SAMPLE:
        raise invalid(f"{name} has {len(data)} bytes, an odd number, and raw samples have 16 bits each; copy it again")
    return np.frombuffer(data, np.dtype("<i2"))
