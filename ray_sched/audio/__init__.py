"""From the bytes of any audio file to 16 kHz mono samples: all of it, or a refusal that says why; never silently less.

Knows nothing of jobs, Ray or the network. Blocks the thread it runs in.
"""

from ray_sched.audio.arrays import decode_array
from ray_sched.audio.blocks import Blocks, decode, duration_of
from ray_sched.audio.report import AudioReport, Decoded, Limits, RawFormat

__all__ = ["AudioReport", "Blocks", "Decoded", "Limits", "RawFormat", "decode", "decode_array", "duration_of"]
