"""MP3 by hand: frames of nothing but a header and zeros are valid silence, and their number is all that matters."""

import struct

_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def frame(kbps: int) -> bytes:
    """1152 samples at 44.1 kHz, mono."""
    size = 144 * kbps * 1000 // 44_100
    return bytes([0xFF, 0xFB, (_KBPS.index(kbps) + 1) << 4, 0xC0]) + bytes(size - 4)


def index(n_frames: int) -> bytes:
    """The frame before the first, which says how many follow."""
    raw = bytearray(frame(64))
    raw[21:37] = b"Info" + struct.pack(">III", 3, n_frames, n_frames * len(raw))
    return bytes(raw)
