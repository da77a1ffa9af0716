"""The audio of one job, wherever it is: looked at at submit, read when a node is ready for it, never by the event loop.

What can be read only once, an open file or a named pipe, is read to its end before the job is asked for.
"""

import asyncio
import inspect
import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_sched.audio import AudioReport, RawFormat, decode_array
from ray_sched.audio.arrays import check_array
from ray_sched.audio.refusals import check_duration, invalid
from ray_sched.audio.report import Encoding
from ray_sched.audio.sniff import has_header
from ray_sched.client import headers
from ray_sched.client.audio import AudioSource
from ray_sched.client.open_files import name_of, own_view
from ray_sched.client.reader import Heard, How, Reader
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_MAX_VALUES_AT_ONCE = 2**18
"""Of an array: so many are converted at submit, in less than a millisecond; more, and other rates, in a thread."""


def how_to_read(sample_rate_hz: int | None, encoding: Encoding = "s16le", *, allow_partial: bool = False) -> How:
    """What a user says of an audio: the rate and encoding it has if it has no header."""
    raw = None if sample_rate_hz is None else RawFormat(rate_hz=sample_rate_hz, encoding=encoding)
    return How(raw=raw, allow_partial=allow_partial)


class Source:
    """One job's audio. Arrays and bytes are kept; files and functions are read for each push anew, and not kept."""

    def __init__(self, audio: AudioSource, how: How, reader: Reader, *, copy: bool = True) -> None:
        """Raises SchedError INVALID_AUDIO for what can be seen to be no audio without reading a file.

        ``copy``: an array or buffer of the caller's is copied, so that it may be used again at once.
        """
        self._how = how
        self._reader = reader
        self._samples: Samples | None = None
        self._held: NDArray[Any] | bytes | None = None
        """What the samples are made of, if it is not elsewhere."""
        self._elsewhere: Any = None
        """A path, an open file or a function."""
        self._name = "the audio"
        self._under_way: asyncio.Future[Heard] | None = None
        """The making of samples, while somebody waits for it."""
        self._n_waiting = 0
        self.duration_ms = 0
        """Milliseconds of audio; 0 while it is not known."""
        self.is_ready = True
        """Whether the job can be asked for; if not, ``prepare`` is to be awaited before."""
        self.report: AudioReport | None = None
        """Of the last time it was decoded; None for samples as they were given."""
        self._take(audio, copy=copy)

    @property
    def held_bytes(self) -> int:
        """Bytes that are in memory between pushes: of samples, or of what they are made of."""
        if self._samples is not None:
            return self._samples.nbytes
        return self._held.nbytes if isinstance(self._held, np.ndarray) else len(self._held or b"")

    @property
    def holds_samples(self) -> bool:
        """Whether the samples themselves are in memory between pushes, so that a push makes no copy of them."""
        return self._samples is not None

    @property
    def kept_samples(self) -> Samples | None:
        """The samples, if they are in memory between pushes."""
        return self._samples

    def hold(self, samples: Samples) -> None:
        """From now on the samples themselves are in memory, instead of what they were made of."""
        if self._held is not None:
            self._samples, self._held = samples, None

    async def prepare(self) -> None:
        """Look at a file, and read what can be read only once. Raises SchedError INVALID_AUDIO."""
        where, self.is_ready = self._elsewhere, True
        if hasattr(where, "read"):
            self._name, self._elsewhere = name_of(where), None
            self._take_bytes(await self._reader.reading.drain(self._name, where))
        elif isinstance(where, str | os.PathLike):
            look = await self._reader.look(where, self._how)
            self.duration_ms = look.duration_ms
            if look.pipe is not None:
                self._name, self._elsewhere = os.fsdecode(where), None
                self._take_bytes(look.pipe)

    async def samples(self) -> Samples:
        """16 kHz mono samples. What does not hold them makes them every time anew, in a thread or a process.

        Who asks while they are made already, as for the next attempt of a push that took too long, gets the same ones.
        Raises SchedError INVALID_AUDIO, also for whatever a user's function raises.
        """
        if self._samples is not None:
            return self._samples
        work = self._under_way = self._under_way or asyncio.ensure_future(self._heard())
        self._n_waiting += 1
        try:
            heard = await asyncio.shield(work)
        finally:
            self._n_waiting -= 1
            if self._n_waiting == 0:
                self._under_way = None
                work.cancel()
        self.report = heard.report
        return heard.samples

    async def _heard(self) -> Heard:
        if isinstance(self._held, np.ndarray):
            decoded = await self._reader.array(self._held, self._rate_hz)
            return Heard(decoded.samples, decoded.report)
        if self._held is not None:
            return await self._reader.content(self._held, self._name, self._how)
        if callable(self._elsewhere):
            return await self._given_by(self._elsewhere)
        return await self._reader.file(self._elsewhere, self._how)

    @property
    def _rate_hz(self) -> int:
        """Of an array."""
        return self._how.raw.rate_hz if self._how.raw else SAMPLE_RATE_HZ

    def _take(self, audio: AudioSource, *, copy: bool) -> None:
        match audio:
            case np.ndarray():
                self._take_array(audio, copy=copy)
            case bytes() | bytearray() | memoryview():
                self._take_bytes(bytes(audio))
            case _ if type(audio) is io.BytesIO:
                self._take_bytes(audio.read())
            case str() | os.PathLike():
                self._elsewhere, self.is_ready = audio, False
            case _ if hasattr(audio, "read"):
                self._elsewhere, self.is_ready = own_view(audio), False
            case _ if callable(audio):
                self._elsewhere = audio
            case _:
                raise invalid(f"{type(audio).__name__} is not audio; give a path, bytes, a NumPy array or an open file")

    def _take_array(self, array: NDArray[Any], *, copy: bool) -> None:
        rate_hz, limits = self._rate_hz, self._reader.limits
        check_array(array, rate_hz, "the array", limits)
        self.duration_ms = max(1, round(len(array) * 1000 / rate_hz))
        if rate_hz == SAMPLE_RATE_HZ and array.dtype == np.int16 and array.ndim == 1:
            self._samples = array.copy() if copy else np.ascontiguousarray(array)
        elif rate_hz == SAMPLE_RATE_HZ and array.size <= _MAX_VALUES_AT_ONCE:
            decoded = decode_array(array, rate_hz, "the array", limits)
            self._samples, self.report = decoded.samples.copy() if copy else decoded.samples, decoded.report
        else:
            self._held = array.copy() if copy else array

    def _take_bytes(self, data: bytes) -> None:
        """Keep the bytes of a file, or raw samples."""
        head, raw = data[: headers.HEAD_BYTES], self._how.raw
        self.duration_ms = self._reader.described(head, len(data), self._name, self._how)
        if raw == RawFormat(rate_hz=SAMPLE_RATE_HZ) and data and not has_header(head):
            self._samples = headers.samples_of_raw(data, self._name)
        elif headers.is_plain(data, len(data)):
            self._samples = headers.plain_samples(data)
            check_duration(len(self._samples), SAMPLE_RATE_HZ, self._name, self._reader.limits.max_duration_s)
        else:
            self._held = data

    async def _given_by(self, function: Any) -> Heard:
        """What a function gives, which may be a coroutine."""
        given = await self._reader.reading.run("the audio source", lambda _: function())
        if inspect.isawaitable(given):
            given = await self._reader.reading.wait("the audio source", given)
        if callable(given) or inspect.isawaitable(given):
            raise invalid(f"the audio function gave a {type(given).__name__}; it must give a path, bytes or an array")
        source = Source(given, self._how, self._reader, copy=False)
        await source.prepare()
        return Heard(await source.samples(), source.report)


NO_AUDIO: Samples = np.zeros(SAMPLE_RATE_HZ // 100, np.int16)
"""Goes with a job of which a text is to be spoken: a hundredth of a second of silence."""
