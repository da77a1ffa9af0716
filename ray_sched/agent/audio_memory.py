"""Memory that an agent shares with the process of a replica: one place for the audio of each run.

The agent copies audio in, once; the process reads it where it is. What crosses the pipe is the place. The file has no
name and no more pages than were written: it is as large as all places could be, and holds next to nothing.
"""

import mmap
import os

import numpy as np

from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from ray_sched.core.messages.fields import MAX_AUDIO_MS
from ray_sched.wire.samples import Samples

PLACE_BYTES = -(-MAX_AUDIO_MS * SAMPLE_RATE_HZ * BYTES_PER_SAMPLE // 1000 // mmap.PAGESIZE) * mmap.PAGESIZE
"""The longest audio there may be, in whole pages."""
KEPT_BYTES = 2**20
"""Pages of a place that stay for the next audio: half a minute. Those beyond are given back with each run."""


class AudioMemory:
    """The agent's side. The caller says which place is free."""

    def __init__(self, n_places: int) -> None:
        self.handle = os.memfd_create("ray_sched-audio")
        """Of the file; for the process to inherit."""
        os.ftruncate(self.handle, n_places * PLACE_BYTES)

    def put(self, place: int, audio: bytes | Samples) -> int:
        """Copy 16-bit samples into a free place, little endian. Returns the number of bytes.

        Raises OSError when there is no memory left.
        """
        samples = np.frombuffer(audio, dtype="<i2") if isinstance(audio, bytes) else audio
        data = np.ascontiguousarray(samples, dtype="<i2").data.cast("B")
        n_written = 0
        while n_written < len(data):
            n_written += os.pwrite(self.handle, data[n_written:], place * PLACE_BYTES + n_written)
        return n_written

    def release(self, place: int, n_bytes: int) -> None:
        """The run that had so many bytes there is over."""
        if n_bytes > KEPT_BYTES:
            with mmap.mmap(self.handle, n_bytes, offset=place * PLACE_BYTES) as pages:
                pages.madvise(mmap.MADV_REMOVE, KEPT_BYTES)

    def close(self) -> None:
        """Give the memory back; the process has ended."""
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1


class AudioView:
    """The process's side: what the agent has put into a place, without a copy. Not to be used when its run is over."""

    def __init__(self, handle: int) -> None:
        """``handle``: inherited from the agent, and not to be inherited by programs that the engine starts."""
        os.set_inheritable(handle, False)
        self._handle = handle
        self._places: dict[int, mmap.mmap] = {}

    def samples(self, place: int, n_bytes: int) -> Samples:
        """The samples of a run, read-only."""
        pages = self._places.get(place)
        if pages is None or len(pages) < n_bytes:
            length = max(n_bytes, KEPT_BYTES)
            pages = mmap.mmap(self._handle, length, access=mmap.ACCESS_READ, offset=place * PLACE_BYTES)
            self._places[place] = pages
        return np.frombuffer(pages, dtype="<i2")[: n_bytes // BYTES_PER_SAMPLE]
