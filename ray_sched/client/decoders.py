"""Decoding in processes of their own: strangers' bytes end a decoder at worst, and with it one job's audio.

A few processes for each client, started when the first is needed and ended when none is for a minute. One that dies,
takes too much or has decoded much is replaced.
"""

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from typing import BinaryIO

import msgspec
import numpy as np
import psutil

from ray_sched.audio.decoder_process import MAX_MESSAGE_BYTES, Answer, Heard, Order, decode_answer, encode
from ray_sched.audio.refusals import invalid
from ray_sched.audio.report import Decoded, Limits, RawFormat
from ray_sched.client.decoder_start import start_decoder
from ray_sched.client.threads import Threads
from ray_sched.core.errors import SchedError, printable
from ray_sched.wire.samples import Samples

log = logging.getLogger(__name__)

_MOST = 4
_MAX_USES = 1_000
_IDLE_S = 60.0
_CPU_PER_AUDIO_S = 0.1
_MIN_CPU_S = 10
_KEPT_BYTES = 4 * 2**20
"""Of the shared file between two decodings."""


class Decoders:
    """The decoders of one client."""

    def __init__(self, limits: Limits, stall_s: float, cpu_s: int | None = None, idle_s: float = _IDLE_S) -> None:
        """``stall_s``: a decoder that does nothing for so long, as its file gives nothing, is killed.

        ``cpu_s``: one audio may take so much CPU; else a tenth of the longest that is taken, and 10 s at least.
        ``idle_s``: a decoder that is not needed for so long is ended.
        """
        n_most = min(_MOST, os.cpu_count() or 1)
        self._limits = limits
        self._cpu_s = cpu_s or max(_MIN_CPU_S, round(limits.max_duration_s * _CPU_PER_AUDIO_S))
        self._stall_s = stall_s
        self._threads = Threads("ray-sched-decode", n_most, n_most, idle_s, self._end_one)
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._is_closed = False

    async def decode(
        self, audio: "bytes | BinaryIO", name: str, raw: RawFormat | None = None, *, allow_partial: bool = False
    ) -> Decoded:
        """The audio in bytes or in an open file, which is closed. Raises SchedError INVALID_AUDIO."""
        order = Order(
            name=printable(name),
            limits=self._limits,
            cpu_s=self._cpu_s,
            raw=raw,
            allow_partial=allow_partial,
        )
        return await self._threads.run(lambda: self._decode(audio, order))

    @property
    def pids(self) -> list[int]:
        """Of the processes there are."""
        with self._lock:
            return [decoder.pid for decoder in self._all]

    def close(self) -> None:
        """End all decoders; what is being decoded is refused."""
        with self._lock:
            self._is_closed = True
            decoders, idle = list(self._all), list(self._idle)
            self._idle.clear()
        for decoder in decoders:
            decoder.kill()
        for decoder in idle:
            decoder.bury()

    def _end_one(self) -> None:
        """As many threads as there are decoders have had nothing to do when all have called this."""
        with self._lock:
            if not self._idle:
                return
            decoder = self._idle.pop()
            self._all.discard(decoder)
        decoder.bury()

    def _decode(self, audio: "bytes | BinaryIO", order: Order) -> Decoded:
        file = _in_memory(audio) if isinstance(audio, bytes) else audio
        with file:
            decoder = self._take()
            try:
                decoded = decoder.decode(order, file.fileno(), self._stall_s)
            finally:
                self._put_back(decoder)
        return decoded

    def _take(self) -> "_Decoder":
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            decoder = _Decoder()
        except OSError as error:
            raise invalid(f"no process can be started to decode the audio ({error}); submit it again") from error
        with self._lock:
            self._all.add(decoder)
            is_late = self._is_closed
        if is_late:
            decoder.kill()
        return decoder

    def _put_back(self, decoder: "_Decoder") -> None:
        with self._lock:
            if decoder.is_alive and decoder.n_uses < _MAX_USES and not self._is_closed:
                self._idle.append(decoder)
                return
            self._all.discard(decoder)
        decoder.bury()


class _Decoder:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        self.n_uses = 0
        self.is_alive = True
        self._shared = os.memfd_create("ray-sched-samples")
        self._errors = os.memfd_create("ray-sched-errors")
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = start_decoder("decoder_process", theirs.fileno(), self._shared, self._errors)

    def decode(self, order: Order, file: int, stall_s: float) -> Decoded:
        """Raises SchedError INVALID_AUDIO, after which it may be dead."""
        self.n_uses += 1
        try:
            socket.send_fds(self._connection, [encode(order)], [file])
            answer = self._answer(order, stall_s)
            if isinstance(answer, Heard):
                return Decoded(self._samples(answer.report.samples), answer.report)
        except (OSError, EOFError, msgspec.DecodeError):
            raise self._died(order) from None
        raise SchedError.of(answer.refusal)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def kill(self) -> None:
        """End it, from any thread."""
        with suppress(OSError):
            self._process.kill()

    def bury(self) -> None:
        """Kill it, if it lives, and free what it had."""
        self.is_alive = False
        self.kill()
        self._process.wait()
        self._connection.close()
        for number in (self._shared, self._errors):
            with suppress(OSError):
                os.close(number)

    def _answer(self, order: Order, stall_s: float) -> Answer:
        """Wait for it, as long as the process works."""
        self._connection.settimeout(stall_s)
        cpu_s = -1.0
        while True:
            try:
                message = self._connection.recv(MAX_MESSAGE_BYTES)
            except TimeoutError:
                before, cpu_s = cpu_s, _cpu_s(self._process.pid)
                if cpu_s > before:
                    continue
                self.is_alive = False
                raise invalid(
                    f"{order.name} did not give its audio within {stall_s:g} s; submit it when it can be read, or set"
                    " client.read_timeout_ms higher"
                ) from None
            if not message:
                raise EOFError
            return decode_answer(message)

    def _samples(self, n_samples: int) -> Samples:
        samples = np.empty(n_samples, np.int16)
        view, at = samples.data.cast("B"), 0
        while view:
            n_read = os.preadv(self._shared, [view], at)
            if n_read == 0:
                raise EOFError
            at, view = at + n_read, view[n_read:]
        if samples.nbytes > _KEPT_BYTES:
            os.ftruncate(self._shared, 0)
        return samples

    def _died(self, order: Order) -> SchedError:
        self.is_alive = False
        self.kill()
        status = self._process.wait()
        os.lseek(self._errors, 0, os.SEEK_SET)
        lines = os.read(self._errors, 65_536).decode(errors="replace").splitlines()
        log.warning("a decoder ended with status %d while it decoded %s: %s", status, order.name, (lines or [""])[-1])
        if status == -signal.SIGXCPU:
            return invalid(f"{order.name} takes more than {order.cpu_s} s of CPU to decode; convert it to WAV")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return invalid(f"{order.name} ended the process that decoded it ({how}); it may be damaged, convert it to WAV")


def _in_memory(data: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("ray-sched-audio"), "w+b", buffering=0)
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    file.seek(0)
    return file


def _cpu_s(pid: int) -> float:
    """User and system time of a process; 0 when it has gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system
