"""Silero's voice detectors of many sessions in one process, for the same reasons as ``client.voice_process``.

A detector holds the interpreter's lock while it computes, 0.1 ms for each 32 ms of audio: in a thread of the gateway it
would hold up every other session. stdin: batches, four bytes, how many entries follow, little endian. An entry is eight
bytes, which session and how many windows, then the windows, 512 signed 16-bit samples each; an entry without windows
ends the session. stdout: a 32-bit float for each window of the batch. It ends when stdin does.
"""

import struct
import sys
from array import array
from typing import BinaryIO

from ray_sched.client.voice_process import Hearing, forbid_threads
from ray_sched.core.split.rules import WINDOW_SAMPLES

COUNT = struct.Struct("<I")
ENTRY = struct.Struct("<II")
WINDOW_BYTES = 2 * WINDOW_SAMPLES


def main() -> None:
    """Serve stdin until it ends."""
    forbid_threads()
    sessions: dict[int, Hearing] = {}
    commands, replies = sys.stdin.buffer, sys.stdout.buffer
    while len(head := commands.read(COUNT.size)) == COUNT.size:
        probabilities = array("f")
        for _ in range(COUNT.unpack(head)[0]):
            _serve(commands, sessions, probabilities)
        replies.write(probabilities.tobytes())
        replies.flush()


def _serve(commands: BinaryIO, sessions: dict[int, Hearing], probabilities: "array[float]") -> None:
    session, n_windows = ENTRY.unpack(commands.read(ENTRY.size))
    if n_windows == 0:
        sessions.pop(session, None)
        return
    if session not in sessions:
        sessions[session] = Hearing()
    hearing = sessions[session]
    for _ in range(n_windows):
        probabilities.append(hearing.add(commands.read(WINDOW_BYTES)))
