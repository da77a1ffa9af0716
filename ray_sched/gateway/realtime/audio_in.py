"""The audio of a client, as it comes, becomes 16 kHz samples: PCM of 24 or 16 kHz, G.711 of 8.

It is stateful: a chunk may end in the middle of a sample, and the resampler knows what came before.
"""

from typing import Literal

import numpy as np
import soxr  # type: ignore[import-untyped]  # it has no types
from msgspec import Struct

from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

Coding = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
_G711_RATE_HZ = 8_000


class Format(Struct, frozen=True):
    """How a client's audio is coded."""

    type: Coding = "audio/pcm"
    rate: int = 24_000
    """Of PCM; G.711 has 8000."""

    @property
    def rate_hz(self) -> int:
        """Samples each second."""
        return self.rate if self.type == "audio/pcm" else _G711_RATE_HZ

    @property
    def bytes_per_s(self) -> int:
        """Bytes each second."""
        return self.rate_hz * (2 if self.type == "audio/pcm" else 1)


PCM_RATES_HZ = (24_000, 16_000)


def _mu_law() -> Samples:
    """The value of each code (ITU-T G.711): its bits are inverted; sign, three of exponent, four of mantissa."""
    code = ~np.arange(256) & 0xFF
    size = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _a_law() -> Samples:
    """The value of each code (ITU-T G.711): every other bit is inverted; the smallest exponent has no leading one."""
    code = np.arange(256) ^ 0x55
    mantissa, exponent = ((code & 0x0F) << 4) + 8, (code >> 4) & 7
    size = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


_TABLES = {"audio/pcmu": _mu_law(), "audio/pcma": _a_law()}


class AudioIn:
    """One client's audio."""

    def __init__(self, coding: Format) -> None:
        self.coding = coding
        self._half = b""
        """The first byte of a sample whose second one has not come."""
        self._resampler = _resampler(coding.rate_hz)

    def add(self, chunk: bytes) -> Samples:
        """The samples that are known with this chunk; the last few milliseconds come with the next one."""
        samples = self._decode(chunk)
        resampled: Samples = samples if self._resampler is None else self._resampler.resample_chunk(samples)
        return resampled

    def flush(self) -> Samples:
        """The rest of what was added; what comes now is heard as if nothing had been before it."""
        if self._resampler is None:
            return np.zeros(0, np.int16)
        rest: Samples = self._resampler.resample_chunk(np.zeros(0, np.int16), last=True)
        self._resampler = _resampler(self.coding.rate_hz)
        return rest

    def _decode(self, chunk: bytes) -> Samples:
        if self.coding.type != "audio/pcm":
            return _TABLES[self.coding.type][np.frombuffer(chunk, np.uint8)]
        whole = self._half + chunk
        n_bytes = len(whole) // 2 * 2
        self._half = whole[n_bytes:]
        return np.frombuffer(whole[:n_bytes], "<i2").astype(np.int16, copy=False)


def _resampler(rate_hz: int) -> soxr.ResampleStream | None:
    if rate_hz == SAMPLE_RATE_HZ:
        return None
    return soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="int16", quality="HQ")
