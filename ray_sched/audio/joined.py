"""Files that were joined byte by byte: where the next one begins behind, or inside, the bytes of another."""

import re
from typing import BinaryIO

from ray_sched.audio.mpeg import begins_frames
from ray_sched.audio.sniff import kind_at, tag_size
from ray_sched.audio.window import bytes_at

_HEADER = re.compile(
    rb"RIFF....WAVEfmt |RF64....WAVE(?:ds64|JUNK)|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02"
    rb"|FORM....AIF[FC]|caff\x00\x01\x00\x00desc|0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel"
    rb"|#!AMR(?:-WB)?\n|\x00\x00\x00[\x08-\x40]ftyp[ -~]{4}|\x1a\x45\xdf\xa3[\x00-\xff]{0,48}(?:webm|matroska)"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00|ID3[\x02-\x04]\x00[\x00-\xff][\x00-\x7f]{4}",
    re.DOTALL,
)
"""Beginnings that are long enough not to occur in coded audio by chance."""
_LONGEST = 64
_BLOCK_BYTES = 2**20


def next_file(stream: BinaryIO, start: int, n_bytes: int) -> int:
    """Where the next header of an audio file is, at or after ``start``; the end of the stream if there is none."""
    for at in range(start, n_bytes, _BLOCK_BYTES):
        found = _HEADER.search(bytes_at(stream, at, _BLOCK_BYTES + _LONGEST))
        if found is not None and found.start() < _BLOCK_BYTES:
            return at + found.start()
    return n_bytes


def begins_file(stream: BinaryIO, at: int, n_bytes: int) -> bool:
    """Whether another audio file begins exactly here."""
    if at >= n_bytes:
        return False
    after_tag = at + tag_size(bytes_at(stream, at, 10))
    return kind_at(stream, after_tag) is not None or begins_frames(stream, after_tag, n_bytes)
