"""Audio sources: from whatever the caller has to 16 kHz mono samples, or one sentence that says what is wrong with it.

A file is never believed about its own length: what a header claims is compared with what is there, and audio that is
too long is refused from its header, before anything is decoded. Nothing here knows of jobs, Ray or the network.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np
import soundfile
import soxr  # type: ignore[import-untyped]
from msgspec import Struct
from numpy.typing import NDArray

from ray_sched.client.riff import check_duration, checked_riff, invalid, lying
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

MAX_DURATION_S = 600.0
"""Longest audio that is taken unless the caller says otherwise."""

MAX_BYTES = 512 * 2**20
"""Most bytes that are read from a pipe or a file object, whose length is not known beforehand."""

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000


AudioSource = Union[
    bytes,
    bytearray,
    memoryview,
    NDArray[Any],
    str,
    "os.PathLike[str]",
    BinaryIO,
    Callable[[], "AudioSource"],
]
"""Bytes of a file or of raw samples, an array, a path, an open binary file, or a function that gives one of these."""

_BLOCK_S = 30
_MAX_CHANNELS = 64
_LOUDEST_FLOAT = 4.0
_LOUDEST_16_BIT = 32768
_DITHER = 256
_HEADERS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"ID3")
_ESTIMATED = ("MP3", "MPEG", "OGG")
"""Formats whose number of frames is an estimate or may rightly be fewer after a cut."""

_SCALES = {np.dtype(np.int16): 1.0, np.dtype(np.int32): 2.0**-16, np.dtype(np.float32): 32768.0}
_SCALES[np.dtype(np.float64)] = 32768.0


class AudioInfo(Struct, frozen=True, kw_only=True):
    """What is known of an audio before it is decoded; zeros where nothing is known yet."""

    duration_ms: int = 0


def describe(
    source: AudioSource, sample_rate_hz: int | None = None, *, max_duration_s: float = MAX_DURATION_S
) -> AudioInfo:
    """How long an audio is, from its header or its shape. Decodes nothing, calls no function and opens no pipe.

    Raises SchedError (INVALID_AUDIO) for what :func:`read` would refuse, as far as a header can tell.
    """
    match source:
        case np.ndarray():
            rate_hz = _checked_rate(_rate_or_default(sample_rate_hz), "the array")
            return _info(len(_checked_array(source)), rate_hz, "the array", max_duration_s)
        case bytes() | bytearray() | memoryview():
            data = _as_bytes(source)
            if _is_raw(data, sample_rate_hz):
                return _describe_raw(data, sample_rate_hz, max_duration_s)
            return _describe_stream(io.BytesIO(data), "the audio", max_duration_s)
        case str() | os.PathLike() if not Path(source).is_fifo():
            with _open(source) as stream:
                return _describe_stream(stream, os.fspath(source), max_duration_s)
        case _:
            return AudioInfo()


def read(source: AudioSource, sample_rate_hz: int | None = None, *, max_duration_s: float = MAX_DURATION_S) -> Samples:
    """The samples of an audio at 16 kHz, mono, signed 16 bit; channels are averaged.

    ``sample_rate_hz`` is the rate of an array (16 000 if not given) or of bytes that are raw 16-bit little-endian
    mono samples; a file says its own. An array that is right already is returned as it is, without a copy. Raises
    SchedError (INVALID_AUDIO) with one sentence that names the audio and says what to do.
    """
    match source:
        case np.ndarray():
            return _read_array(source, _rate_or_default(sample_rate_hz), max_duration_s)
        case bytes() | bytearray() | memoryview():
            return _read_bytes(_as_bytes(source), sample_rate_hz, "the audio", max_duration_s)
        case str() | os.PathLike():
            with _open(source) as stream:
                return _read_path(stream, os.fspath(source), max_duration_s)
        case _ if hasattr(source, "read"):
            name = _name_of(source)
            return _read_bytes(_drain(source, name), sample_rate_hz, name, max_duration_s)
        case _ if callable(source):
            return _read_given(source(), sample_rate_hz, max_duration_s)
        case _:
            raise invalid(f"{type(source).__name__} is not audio; give a path, bytes, a NumPy array or an open file")


def write_wav(path: "str | os.PathLike[str]", samples: bytes | Samples, rate_hz: int) -> None:
    """Write mono 16-bit samples as a WAV file, replacing it. Raises OSError when it cannot be written."""
    array = np.frombuffer(samples, dtype="<i2") if isinstance(samples, bytes) else samples
    held = io.BytesIO()  # libsndfile is not told of a full disk
    soundfile.write(held, array, rate_hz, format="WAV", subtype="PCM_16")
    Path(path).write_bytes(held.getvalue())


def _describe_raw(data: bytes, rate_hz: int | None, max_duration_s: float) -> AudioInfo:
    samples = _raw_samples(data, rate_hz, "the audio")
    return _info(len(samples), _rate_or_default(rate_hz), "the audio", max_duration_s)


def _describe_stream(stream: BinaryIO, name: str, max_duration_s: float) -> AudioInfo:
    with _opened(stream, name, max_duration_s) as sound:
        return _info(sound.frames, sound.samplerate, name, max_duration_s)


def _info(n_frames: int, rate_hz: int, name: str, max_duration_s: float) -> AudioInfo:
    check_duration(n_frames, rate_hz, name, max_duration_s)
    return AudioInfo(duration_ms=max(1, round(n_frames * 1000 / rate_hz)))


def _read_path(stream: BinaryIO, name: str, max_duration_s: float) -> Samples:
    if not stream.seekable():
        return _read_bytes(_drain(stream, name), None, name, max_duration_s)
    return _decode(stream, name, max_duration_s)


def _read_bytes(data: bytes, rate_hz: int | None, name: str, max_duration_s: float) -> Samples:
    if _is_raw(data, rate_hz):
        return _read_array(_raw_samples(data, rate_hz, name), _rate_or_default(rate_hz), max_duration_s, name)
    return _decode(io.BytesIO(data), name, max_duration_s)


def _read_given(given: Any, sample_rate_hz: int | None, max_duration_s: float) -> Samples:
    if callable(given) or hasattr(given, "__await__"):
        if hasattr(given, "close"):
            given.close()
        raise invalid(f"the audio function gave a {type(given).__name__}; it must give a path, bytes or an array")
    return read(given, sample_rate_hz, max_duration_s=max_duration_s)


def _read_array(array: NDArray[Any], rate_hz: int, max_duration_s: float, name: str = "the array") -> Samples:
    _checked_array(array, name)
    check_duration(len(array), _checked_rate(rate_hz, name), name, max_duration_s)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "f":
        _check_floats(native, name, loudest=_LOUDEST_FLOAT)
    if native.dtype == np.int16 and native.ndim == 1 and rate_hz == SAMPLE_RATE_HZ:
        return np.ascontiguousarray(native)
    mono = _mono(native.astype(np.float32) * np.float32(_SCALES[native.dtype]))
    return _at_16k(mono, rate_hz, name)


def _decode(stream: BinaryIO, name: str, max_duration_s: float) -> Samples:
    with _opened(stream, name, max_duration_s) as sound:
        n_claimed, rate_hz = sound.frames, sound.samplerate
        is_plain = sound.subtype == "PCM_16" and sound.channels == 1 and rate_hz == SAMPLE_RATE_HZ
        blocks = list(_blocks(sound, is_plain=is_plain, max_frames=int(max_duration_s * rate_hz)))
        n_frames = sum(map(len, blocks))
        if n_frames < n_claimed and not sound.format.startswith(_ESTIMATED):
            raise invalid(f"{name} is cut off: it claims {n_claimed} frames and holds {n_frames}; copy it again")
    if n_frames == 0:
        raise invalid(f"{name} holds no audio, only a header; record it again")
    samples = np.concatenate(blocks)
    if is_plain:
        return samples
    _check_floats(samples, name)
    return _at_16k(samples * np.float32(32768), rate_hz, name)


def _blocks(sound: soundfile.SoundFile, *, is_plain: bool, max_frames: int) -> Iterator[NDArray[Any]]:
    """Decoded mono blocks, so that many channels or a high rate never fill the memory; at most ``max_frames``."""
    n_block = sound.samplerate * _BLOCK_S
    while max_frames > 0:
        block = sound.read(min(n_block, max_frames), dtype="int16" if is_plain else "float32")
        if len(block) == 0:
            return
        max_frames -= len(block)
        yield _mono(block)


def _mono(samples: NDArray[Any]) -> NDArray[Any]:
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=samples.dtype)


def _at_16k(mono: NDArray[np.float32], rate_hz: int, name: str) -> Samples:
    """From floats on the scale of 16-bit samples, at any rate."""
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    if len(mono) == 0:
        raise invalid(f"{name} is shorter than a sixteenth of a millisecond; record it again")
    return np.clip(np.rint(mono), -32768, 32767).astype(np.int16)


@contextmanager
def _open(path: "str | os.PathLike[str]") -> Iterator[BinaryIO]:
    name = os.fspath(path)
    try:
        mode = Path(path).stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device or socket"
            raise invalid(f"{name} is {kind}, not an audio file; give the path of a file")
        stream = Path(path).open("rb")  # noqa: SIM115  closed below; only opening it may fail in these ways
    except FileNotFoundError as error:
        raise invalid(f"there is no file {name}; check the path") from error
    except PermissionError as error:
        raise invalid(f"{name} may not be read by this user; change its permissions") from error
    except (OSError, ValueError) as error:
        raise invalid(f"{name!r} cannot be opened: {error}; check the path") from error
    with stream:
        yield stream


@contextmanager
def _opened(stream: BinaryIO, name: str, max_duration_s: float) -> Iterator[soundfile.SoundFile]:
    """An audio file of which the header has been checked: format, claimed lengths, rate and duration."""
    checked = _checked_stream(stream, name, max_duration_s)
    try:
        with soundfile.SoundFile(checked) as sound:
            if sound.frames == 0:
                raise invalid(f"{name} holds no audio, only a header; record it again")
            if not 0 < sound.frames < 2**62:
                raise invalid(f"{name} does not say how long it is; write it to a file instead of a pipe")
            check_duration(sound.frames, _checked_rate(sound.samplerate, name), name, max_duration_s)
            yield sound
    except (soundfile.LibsndfileError, TypeError) as error:
        raise invalid(f"{name} cannot be decoded, it is damaged or of an unknown kind; convert it to WAV") from error


def _checked_stream(stream: BinaryIO, name: str, max_duration_s: float) -> BinaryIO:
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(4096)
    stream.seek(0)
    if not head:
        raise invalid(f"{name} is empty; record it again")
    if not _has_header(head) and not _may_be_mp3(head):
        kind = "is a text, not audio" if _is_text(head) else "is not in a known audio format"
        raise invalid(f"{name} {kind}; give WAV, FLAC, OGG, MP3 or AIFF, or raw samples together with sample_rate_hz")
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return checked_riff(stream, n_bytes, name, max_duration_s)
    if head[:4] == b"FORM" and (n_claimed := int.from_bytes(head[4:8], "big") + 8) > n_bytes + 1:
        raise lying(name, n_claimed, n_bytes)
    return stream


def _checked_rate(rate_hz: int, name: str) -> int:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise invalid(f"the rate of {name} is {rate_hz} Hz; it must be from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    return rate_hz


def _rate_or_default(rate_hz: int | None) -> int:
    return SAMPLE_RATE_HZ if rate_hz is None else rate_hz


def _checked_array(array: NDArray[Any], name: str = "the array") -> NDArray[Any]:
    if array.dtype.newbyteorder("=") not in _SCALES:
        raise invalid(f"{name} is of type {array.dtype}; give int16, int32, float32 or float64 samples")
    is_long = array.ndim == 1 or (array.ndim == 2 and 0 < array.shape[1] <= _MAX_CHANNELS)  # noqa: PLR2004
    if not is_long:
        raise invalid(f"{name} has shape {array.shape}; give (samples,) or (samples, channels)")
    if array.size == 0:
        raise invalid(f"{name} holds no samples; give at least one")
    if array.dtype.newbyteorder("=") == np.int32:
        _check_width(array, name)
    return array


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


def _check_floats(samples: NDArray[Any], name: str, *, loudest: float = np.inf) -> None:
    if not np.isfinite(samples).all():
        raise invalid(f"{name} holds NaN or infinite samples; repair whatever made it")
    if (peak := float(np.abs(samples).max())) > loudest:
        raise invalid(f"{name} has a peak of {peak:g}; float samples go from -1 to 1, divide them first")


def _raw_samples(data: bytes, rate_hz: int | None, name: str) -> NDArray[Any]:
    if rate_hz is None:
        raise _not_raw(data, name)
    if not data:
        raise invalid(f"{name} is empty; give at least one sample")
    if len(data) % BYTES_PER_SAMPLE:
        raise invalid(f"{name} has {len(data)} bytes, an odd number; raw samples have 16 bits each")
    return np.frombuffer(data, dtype="<i2")


def _not_raw(data: bytes, name: str) -> SchedError:
    if not data:
        return invalid(f"{name} is empty; give at least one sample")
    kind = "is a text" if _is_text(data[:4096]) else "has no header of an audio file"
    return invalid(f"{name} {kind}; if it is raw 16-bit mono samples, say sample_rate_hz=16000")


def _is_raw(data: bytes, rate_hz: int | None) -> bool:
    """Whether bytes are to be taken as raw samples; an MP3 without a tag looks like samples, so the rate decides."""
    return not (_has_header(data) or (rate_hz is None and _may_be_mp3(data)))


def _has_header(head: bytes) -> bool:
    return head.startswith(_HEADERS)


def _may_be_mp3(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0  # noqa: PLR2004  eleven bits of sync


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    return text.rstrip("\N{REPLACEMENT CHARACTER}").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()


def _as_bytes(source: bytes | bytearray | memoryview) -> bytes:
    return source if isinstance(source, bytes) else bytes(source)


def _drain(stream: Any, name: str) -> bytes:
    """All that is left in it: a pipe or a socket gives what is there, and ends with nothing at all."""
    parts: list[bytes] = []
    n_left = MAX_BYTES + 1
    while n_left > 0 and (part := stream.read(n_left)):
        if not isinstance(part, bytes | bytearray | memoryview):
            raise invalid(f"{name} is open for text; open it with mode 'rb'")
        parts.append(bytes(part))
        n_left -= len(part)
    if n_left <= 0:
        raise invalid(f"{name} holds more than {MAX_BYTES // 2**20} MiB; cut it into parts")
    return b"".join(parts)


def _name_of(stream: Any) -> str:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "the open file"
