"""The reading and decoding of one client: threads for what may hang, processes for strangers' bytes."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct
from numpy.typing import NDArray

from ray_sched.audio import AudioReport, Decoded, Limits, RawFormat, decode_array
from ray_sched.audio.refusals import check_duration, check_shape, invalid
from ray_sched.audio.sniff import has_header
from ray_sched.client import headers
from ray_sched.client.decoders import Decoders
from ray_sched.client.reading import Progress, Reading, read_all
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_COPIED_BYTES = 4 * 2**20
"""Files of up to so many bytes are read by a thread, so that a slow share holds up no decoder."""


class How(Struct, frozen=True):
    """What its user says of an audio."""

    raw: RawFormat | None = None
    """What it is if it has no header."""
    allow_partial: bool = False


class Heard(Struct, frozen=True):
    """The samples of an audio."""

    samples: Samples
    report: AudioReport | None = None
    """None for samples as they were given, of which there is nothing to say."""


class Look(Struct, frozen=True):
    """What a look at a path found."""

    duration_ms: int = 0
    """0 if it is not known."""
    pipe: bytes | None = None
    """What was in it, if it is a pipe, which can be read only once."""


class Reader:
    """Everything of it raises SchedError INVALID_AUDIO, with one sentence that names the audio and says what to do."""

    def __init__(self, limits: Limits, timeout_s: float) -> None:
        """``timeout_s``: a source that gives nothing for so long is given up."""
        self.limits = limits
        self.reading = Reading(timeout_s)
        self._decoders = Decoders(limits, timeout_s)

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()

    async def look(self, path: "str | os.PathLike[str]", how: How, *, may_take: bool = True) -> Look:
        """What a path leads to. A pipe is read to its end, if ``may_take``."""

        def look(progress: Progress) -> Look:
            if not may_take and Path(path).is_fifo():
                return Look()
            with opened(path) as (stream, n_bytes):
                if n_bytes is None:
                    return Look(pipe=read_all(stream, progress))
                return Look(self.described(stream.read(headers.HEAD_BYTES), n_bytes, progress.name, how))

        return await self.reading.run(os.fsdecode(path), look)

    def described(self, head: bytes, n_bytes: int, name: str, how: How) -> int:
        """Milliseconds of audio in a file of so many bytes that begins like this; 0 if its beginning does not tell."""
        if how.raw and n_bytes and not has_header(head):
            width = BYTES_PER_SAMPLE if how.raw.encoding == "s16le" else 1
            n_frames = n_bytes // width
            check_shape(how.raw.rate_hz, 1, name, self.limits)
            check_duration(n_frames, how.raw.rate_hz, name, self.limits.max_duration_s)
            return max(1, n_frames * 1000 // how.raw.rate_hz)
        headers.check_head(head, name)
        return min(headers.duration_ms(head, n_bytes), round(self.limits.max_duration_s * 1000))

    async def file(self, path: "str | os.PathLike[str]", how: How) -> Heard:
        """The audio of a file."""
        name = os.fsdecode(path)
        given = await self.reading.run(name, lambda progress: _content(path, progress))
        return await self.content(given, name, how)

    async def content(self, data: "bytes | BinaryIO", name: str, how: How) -> Heard:
        """The audio in the bytes of a file, in an open ordinary one, or in raw samples."""
        if isinstance(data, bytes) and headers.is_plain(data, len(data)):
            samples = headers.plain_samples(data)
            check_duration(len(samples), SAMPLE_RATE_HZ, name, self.limits.max_duration_s)
            return Heard(samples)
        decoded = await self._decoded(data, name, how)
        return Heard(decoded.samples, decoded.report)

    async def report(self, path: "str | os.PathLike[str]", how: How) -> AudioReport:
        """What is heard in a file; everything is decoded, plain WAV too."""
        name = os.fsdecode(path)
        data = await self.reading.run(name, lambda progress: _content(path, progress))
        return (await self._decoded(data, name, how)).report

    async def _decoded(self, data: "bytes | BinaryIO", name: str, how: How) -> Decoded:
        raw = how.raw if how.raw and not has_header(_head_of(data)) else None
        return await self._decoders.decode(data, name, raw, allow_partial=how.allow_partial)

    async def array(self, array: NDArray[Any], rate_hz: int) -> Decoded:
        """The audio of an array that has to be converted."""
        return await self.reading.run("the array", lambda _: decode_array(array, rate_hz, "the array", self.limits))


def _content(path: "str | os.PathLike[str]", progress: Progress) -> "bytes | BinaryIO":
    with opened(path) as (stream, n_bytes):
        if n_bytes is None or n_bytes <= _COPIED_BYTES:
            return read_all(stream, progress)
        return os.fdopen(os.dup(stream.fileno()), "rb")


def _head_of(data: "bytes | BinaryIO") -> bytes:
    return data[: headers.HEAD_BYTES] if isinstance(data, bytes) else os.pread(data.fileno(), headers.HEAD_BYTES, 0)


@contextmanager
def opened(path: "str | os.PathLike[str]") -> Iterator[tuple[BinaryIO, int | None]]:
    """An open file and its length; None for a pipe. Waits for the writer of a pipe. Raises SchedError INVALID_AUDIO."""
    name = os.fsdecode(path)
    try:
        mode = Path(path).stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device or socket"
            raise invalid(f"{name} is {kind}, not an audio file; give the path of a file")
        stream = Path(path).open("rb", buffering=0)  # noqa: SIM115  closed below; only opening it may fail in these ways
    except FileNotFoundError as error:
        raise invalid(f"there is no file {name}; check the path") from error
    except PermissionError as error:
        raise invalid(f"{name} may not be read by this user; change its permissions") from error
    except (OSError, ValueError) as error:
        raise invalid(f"{name!r} cannot be opened: {error}; check the path") from error
    with stream:
        yield stream, None if stat.S_ISFIFO(mode) else os.fstat(stream.fileno()).st_size
