"""Ogg pages by hand: to leave some out, to change what is in one, to end without the end mark."""

import struct

_HEADER_BYTES = 27
_LAST = 4


def pages(data: bytes) -> list[bytes]:
    """The pages of a good file."""
    found: list[bytes] = []
    while data:
        n_lengths = data[26]
        size = _HEADER_BYTES + n_lengths + sum(data[_HEADER_BYTES : _HEADER_BYTES + n_lengths])
        found.append(data[:size])
        data = data[size:]
    return found


def sealed(page: bytes) -> bytes:
    """A page that was changed, with the check sum that it now needs."""
    blank = page[:22] + bytes(4) + page[26:]
    crc = 0
    for byte in blank:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFF_FFFF
    return page[:22] + struct.pack("<I", crc) + page[26:]


def without_end_mark(data: bytes) -> bytes:
    """As a recorder leaves it that was killed between two pages."""
    *others, last = pages(data)
    return b"".join([*others, sealed(last[:5] + bytes([last[5] & ~_LAST]) + last[6:])])
