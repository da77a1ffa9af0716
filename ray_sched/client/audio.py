"""What a user may give as audio, and how samples are written as a file."""

import io
import os
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Union

from numpy.typing import NDArray

from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE
from ray_sched.wire.samples import Samples


class AsyncFile(Protocol):
    """An open file of which ``read`` is a coroutine, such as Starlette's ``UploadFile``."""

    async def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


AudioSource = Union[
    bytes,
    bytearray,
    memoryview,
    NDArray[Any],
    str,
    "os.PathLike[str]",
    BinaryIO,
    AsyncFile,
    Callable[[], "AudioSource"],
    Callable[[], Awaitable["AudioSource"]],
]
"""Bytes of a file or of raw samples, a numpy array of shape (samples,) or (samples, channels), a path, an open binary
file, whose ``read`` may be a coroutine, or a function, plain or a coroutine, that gives one of these."""


def write_wav(path: "str | os.PathLike[str]", samples: bytes | Samples, rate_hz: int) -> None:
    """Write mono 16-bit samples as a WAV file, replacing it. Raises OSError when it cannot be written."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, BYTES_PER_SAMPLE, rate_hz, 0, "NONE", ""))
        writer.writeframes(samples if isinstance(samples, bytes) else samples.astype("<i2").tobytes())
    Path(path).write_bytes(file.getvalue())
