"""The audio of one job, wherever it is: described at once, read when a node is ready for it."""

import asyncio
import hashlib

import numpy as np

from ray_sched.client.audio import AudioSource, describe, read
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.wire.samples import Samples


class Source:
    """One job's audio. Bytes, arrays and open files are held in memory; paths and callables are read for each push."""

    def __init__(
        self, audio: AudioSource, sample_rate_hz: int | None, max_duration_s: float, *, copy: bool = True
    ) -> None:
        """Raises SchedError INVALID_AUDIO for what cannot be audio, as far as a look at its header tells.

        ``copy``: an array or buffer of the caller's is copied, so that it may be used again at once.
        """
        self._audio = audio
        self._rate_hz = sample_rate_hz
        self._max_duration_s = max_duration_s
        self.info = describe(audio, sample_rate_hz=sample_rate_hz, max_duration_s=max_duration_s)
        is_kept = isinstance(audio, bytes | bytearray | memoryview | np.ndarray) or hasattr(audio, "read")
        self._samples: Samples | None = self._read() if is_kept else None
        if (
            copy
            and self._samples is not None
            and isinstance(audio, np.ndarray)
            and np.may_share_memory(self._samples, audio)
        ):
            self._samples = self._samples.copy()

    @property
    def duration_ms(self) -> int:
        """Milliseconds of audio; 0 while it is not known."""
        if self._samples is not None:
            return len(self._samples) * 1000 // SAMPLE_RATE_HZ
        return self.info.duration_ms

    @property
    def held_bytes(self) -> int:
        """Bytes of samples held in memory between pushes."""
        return self._samples.nbytes if self._samples is not None else 0

    async def samples(self) -> Samples:
        """16 kHz mono samples. Files and callables are read in a thread, every time anew, and not kept.

        Raises SchedError INVALID_AUDIO, also for whatever a user's callable raises.
        """
        return self._samples if self._samples is not None else await asyncio.to_thread(self._read_in_thread)

    def _read_in_thread(self) -> Samples:
        try:
            return self._read()
        except SchedError:
            raise
        except Exception as error:  # noqa: BLE001  # it may be anything; a StopIteration would not even leave the thread
            why = f"the audio source raised {type(error).__name__}: {error}"
            raise SchedError(Code.INVALID_AUDIO, why) from None

    def _read(self) -> Samples:
        return read(self._audio, sample_rate_hz=self._rate_hz, max_duration_s=self._max_duration_s)


def digest(samples: Samples) -> str:
    """A fingerprint of the samples."""
    return hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()
