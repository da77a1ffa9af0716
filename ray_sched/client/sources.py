"""The audio of one job, wherever it is: looked at at submit, read when a node is ready for it, never by the event loop.

What can be read only once, an open file or a named pipe, is read to its end before the job is asked for.
"""

import functools
import hashlib
import inspect
import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_sched.client.audio import AudioSource, describe, read
from ray_sched.client.open_files import name_of, own_view
from ray_sched.client.reading import Progress, Reading, invalid, read_all
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples

_READ_TIMEOUT_S = 30.0
_MAX_VALUES_AT_ONCE = 2**18
"""Of an array: so many are converted at submit, in less than a millisecond; more, and other rates, in a thread."""


class Source:
    """One job's audio. Arrays and bytes are kept; files and callables are read for each push anew, and not kept."""

    def __init__(
        self,
        audio: AudioSource,
        sample_rate_hz: int | None,
        max_duration_s: float,
        *,
        copy: bool = True,
        reading: Reading | None = None,
    ) -> None:
        """Raises SchedError INVALID_AUDIO for what can be seen to be no audio without reading a file.

        ``copy``: an array or buffer of the caller's is copied, so that it may be used again at once.
        """
        self._rate_hz = sample_rate_hz
        self._max_duration_s = max_duration_s
        self._reading = reading or Reading(_READ_TIMEOUT_S)
        self._samples: Samples | None = None
        self._held: NDArray[Any] | bytes | None = None
        """What the samples are made of, if it is not elsewhere."""
        self._elsewhere: Any = None
        """A path, an open file or a function."""
        self.duration_ms = 0
        """Milliseconds of audio; 0 while it is not known."""
        self.is_ready = True
        """Whether the job can be asked for; if not, ``prepare`` is to be awaited before."""
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

    async def prepare(self) -> None:
        """Look at a file, and read what can be read only once. Raises SchedError INVALID_AUDIO."""
        where, self.is_ready = self._elsewhere, True
        if hasattr(where, "read"):
            self._elsewhere = None
            self._take_bytes(await self._reading.drain(name_of(where), where))
        elif isinstance(where, str | os.PathLike):
            name = os.fsdecode(where)
            pipe, self.duration_ms = await self._reading.run(name, functools.partial(self._look, where))
            if pipe is not None:
                self._elsewhere = None
                self._take_bytes(pipe)

    async def samples(self) -> Samples:
        """16 kHz mono samples. What does not hold them makes them in a thread, every time anew.

        Raises SchedError INVALID_AUDIO, also for whatever a user's callable raises.
        """
        if self._samples is not None:
            return self._samples
        what = self._elsewhere if self._held is None else self._held
        if callable(what):
            return await self._samples_of_function(what)
        name = os.fsdecode(what) if isinstance(what, str | os.PathLike) else "the audio"
        return await self._reading.run(name, lambda _: self._read(what))

    def _take(self, audio: AudioSource, *, copy: bool) -> None:
        match audio:
            case np.ndarray():
                self._take_array(audio, copy=copy)
            case bytes() | bytearray() | memoryview():
                self._take_bytes(bytes(audio))
            case io.BytesIO():
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
        self.duration_ms = self._describe(array)
        is_right = array.dtype == np.int16 and array.ndim == 1
        if self._rate_hz in {None, SAMPLE_RATE_HZ} and (is_right or array.size <= _MAX_VALUES_AT_ONCE):
            samples = self._read(array)
            self._samples = samples.copy() if copy and np.may_share_memory(samples, array) else samples
        else:
            self._held = array.copy() if copy else array

    def _take_bytes(self, data: bytes) -> None:
        self.duration_ms = self._describe(data)
        if self._rate_hz == SAMPLE_RATE_HZ:
            self._samples = self._read(data)
        else:
            self._held = data

    def _look(self, path: "str | os.PathLike[str]", progress: Progress) -> tuple[bytes | None, int]:
        """What is in a named pipe, else None; and how long the audio of a file is."""
        try:
            is_pipe = stat.S_ISFIFO(Path(path).stat().st_mode)
        except (OSError, ValueError):
            is_pipe = False  # whatever it is, it is refused with its sentence
        if not is_pipe:
            return None, self._describe(path)
        with Path(path).open("rb", buffering=0) as stream:
            return read_all(stream, progress), 0

    async def _samples_of_function(self, function: Any) -> Samples:
        given = await self._reading.run("the audio source", lambda _: function())
        if inspect.isawaitable(given):
            given = await self._reading.wait("the audio source", given)
        if callable(given) or inspect.isawaitable(given):
            raise invalid(f"the audio function gave a {type(given).__name__}; it must give a path, bytes or an array")
        source = Source(given, self._rate_hz, self._max_duration_s, copy=False, reading=self._reading)
        await source.prepare()
        return await source.samples()

    def _describe(self, audio: AudioSource) -> int:
        return describe(audio, self._rate_hz, max_duration_s=self._max_duration_s).duration_ms

    def _read(self, audio: AudioSource) -> Samples:
        return read(audio, self._rate_hz, max_duration_s=self._max_duration_s)


def digest(samples: Samples) -> str:
    """A fingerprint of the samples."""
    return hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()
