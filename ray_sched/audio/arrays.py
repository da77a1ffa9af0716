"""Samples that are in an array already."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_sched.audio.blocks import level_db
from ray_sched.audio.mono import Mono
from ray_sched.audio.refusals import check_duration, check_shape, invalid, too_short
from ray_sched.audio.report import AudioReport, Decoded, Limits
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_SCALES = {np.dtype(np.int16): 2.0**-15, np.dtype(np.int32): 2.0**-31}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_LOUDEST_16_BIT = 32768
_DITHER = 256
_BLOCK_VALUES = 2**20


def decode_array(array: NDArray[Any], rate_hz: int, name: str, limits: Limits) -> Decoded:
    """Samples of shape (n,) or (n, channels): int16, int32, float32 or float64, floats from -1 to 1.

    An array that is right already comes back as it is, without a copy. Raises SchedError INVALID_AUDIO.
    """
    check_array(array, rate_hz, name, limits)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    frames = native.reshape(len(native), -1)
    notes: list[str] = []
    if native.dtype == np.int16 and frames.shape[1] == 1 and rate_hz == SAMPLE_RATE_HZ:
        samples: Samples = np.ascontiguousarray(frames[:, 0])
    else:
        mono = Mono(rate_hz, name, is_float=native.dtype in _FLOATS)
        samples = np.concatenate([*map(mono.add, _blocks(frames)), mono.end()])
        notes = mono.notes
    if len(samples) == 0:
        raise too_short(name)
    return Decoded(
        samples,
        AudioReport(
            container="array",
            codec=str(array.dtype),
            source_rate_hz=rate_hz,
            channels=frames.shape[1],
            samples=len(samples),
            duration_s=len(samples) / SAMPLE_RATE_HZ,
            level_db=level_db(float(np.square(samples, dtype=np.float64).sum()), len(samples)),
            whole=True,
            notes=tuple(notes),
        ),
    )


def check_array(array: NDArray[Any], rate_hz: int, name: str, limits: Limits) -> None:
    """Raises SchedError INVALID_AUDIO for what :func:`decode_array` would refuse, except bad floats."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in _SCALES and dtype not in _FLOATS:
        raise invalid(f"{name} is of type {array.dtype}; give int16, int32, float32 or float64 samples")
    is_long = array.ndim == 1 or (array.ndim == 2 and 0 < array.shape[1] <= limits.max_channels)  # noqa: PLR2004
    if not is_long:
        raise invalid(f"{name} has shape {array.shape}; give (samples,) or (samples, channels)")
    if array.size == 0:
        raise invalid(f"{name} holds no samples; give at least one")
    check_shape(rate_hz, 1 if array.ndim == 1 else array.shape[1], name, limits)
    check_duration(len(array), rate_hz, name, limits.max_duration_s)
    if dtype == np.int32:
        _check_width(array, name)


def _check_width(array: NDArray[Any], name: str) -> None:
    """Refuse 16-bit samples in a wider array: as 32-bit ones they would be silence, 96 dB below full scale.

    Up to 8 bits are taken for what they may well be, the dither of a silence recorded with 24 bits.
    """
    peak = max(int(array.max()), -int(array.min()))
    if _DITHER < peak <= _LOUDEST_16_BIT:
        raise invalid(
            f"{name} is of type int32 with a peak of {peak}, as 16-bit samples have; give .astype(numpy.int16),"
            " or samples that use the 32 bits"
        )


def _blocks(frames: NDArray[Any]) -> "list[NDArray[np.float32]]":
    scale = np.float32(_SCALES.get(frames.dtype, 1.0))
    n_block = max(1, _BLOCK_VALUES // frames.shape[1])
    return [frames[i : i + n_block].astype(np.float32) * scale for i in range(0, len(frames), n_block)]
