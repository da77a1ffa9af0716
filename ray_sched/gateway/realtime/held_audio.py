"""The samples of a session that somebody may still need, by their position from its beginning."""

from collections import deque
from collections.abc import Callable

import numpy as np

from ray_sched.wire.samples import Samples


class HeldAudio:
    """Grows at its end, and is dropped from its beginning."""

    def __init__(self, count: Callable[[int], None]) -> None:
        """``count`` is told how many samples more are held, or fewer."""
        self._count = count
        self._chunks: deque[tuple[int, Samples]] = deque()
        """Where each begins, and what it is."""
        self.begin = 0
        self.end = 0

    @property
    def n_samples(self) -> int:
        """That are held."""
        return self.end - self.begin

    def add(self, samples: Samples) -> None:
        """More, behind what there is."""
        if len(samples):
            self._chunks.append((self.end, samples))
            self.end += len(samples)
            self._count(len(samples))

    def between(self, begin: int, end: int) -> Samples:
        """A copy of these samples, all of which are held."""
        parts = [
            chunk[max(begin - at, 0) : max(end - at, 0)]
            for at, chunk in self._chunks
            if at < end and at + len(chunk) > begin
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def drop(self, before: int) -> None:
        """Samples before this are needed by nobody; their memory is freed by the chunk."""
        self._count(self.begin - before)
        self.begin = before
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) <= before:
            self._chunks.popleft()
