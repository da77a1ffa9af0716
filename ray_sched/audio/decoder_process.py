"""The process that decodes strangers' bytes, and what is said to it.

It has limits on its memory, its CPU, and what it may open: what is in a file can end this process, no other. It ends
with the process that started it, however that ends. On its socket an :class:`Order` comes with the open file, and
an answer goes back; the samples are in the file in memory that both share, from its beginning.
"""

import io
import os
import resource
import select
import signal
import socket
import sys
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from ray_sched.audio.blocks import Blocks
from ray_sched.audio.report import AudioReport, Limits, RawFormat
from ray_sched.core.errors import Code, Refusal, SchedError

MEMORY_BYTES = 256 * 2**20
"""What decoding may take beside the process itself, which has 50 MiB."""
MAX_MESSAGE_BYTES = 65_536
_LOOKS_EVERY_MS = 1_000


class Order(Struct, frozen=True, kw_only=True):
    """Decode the file that comes with this."""

    name: str
    """Of the audio, for sentences."""
    limits: Limits
    cpu_s: int
    """The process is killed when the decoding takes more, or up to a second less: the kernel counts whole seconds."""
    raw: RawFormat | None = None
    allow_partial: bool = False


class Heard(Struct, frozen=True, tag=True):
    """It is decoded: so many samples as the report says are in the shared file."""

    report: AudioReport


class Unheard(Struct, frozen=True, tag=True):
    """It cannot be decoded."""

    refusal: Refusal


Answer = Heard | Unheard

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Order | Answer) -> bytes:
    """As one message of the socket."""
    return _encoder.encode(message)


def decode_order(message: bytes) -> Order:
    """Raises msgspec.DecodeError for what is none."""
    return _orders.decode(message)


def decode_answer(message: bytes) -> Answer:
    """Raises msgspec.DecodeError for what is none."""
    return _answers.decode(message)


def main(channel: int, shared: int, parent: int) -> None:
    """Decode until the other end of the socket is closed.

    ``channel`` and ``shared``: numbers of the socket and of the file for the samples; ``parent``: its process id.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=channel)
    threading.Thread(target=end_with_parent, args=(channel, parent), daemon=True).start()
    warm_up()
    set_limits(max(channel, shared))
    while True:
        message, files, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
        if not message:
            return
        with os.fdopen(files[0], "rb") as stream:
            answer = _answer(decode_order(message), stream, shared)
        connection.send(encode(answer))


def _answer(order: Order, stream: io.BufferedReader, shared: int) -> Answer:
    def decode() -> AudioReport:
        blocks = blocks_of(order, stream)
        at = 0
        for block in blocks:
            view = block.data.cast("B")
            while view:
                n_written = os.pwrite(shared, view, at)
                at, view = at + n_written, view[n_written:]
        return blocks.report

    allow_cpu(order.cpu_s)
    return answer_of(order, decode)


def blocks_of(order: Order, stream: BinaryIO) -> Blocks:
    """What an order asks for."""
    return Blocks(stream, order.name, order.limits, raw=order.raw, allow_partial=order.allow_partial)


def answer_of(order: Order, decode: Callable[[], AudioReport]) -> Answer:
    """What decoding gave, or why it gave nothing."""
    try:
        return Heard(decode())
    except SchedError as error:
        return Unheard(error.refusal)
    except MemoryError:
        why = f"{order.name} takes more than {MEMORY_BYTES // 2**20} MiB of memory to decode; convert it to WAV"
        return Unheard(Refusal(code=Code.INVALID_AUDIO, message=why))


def allow_cpu(seconds: int) -> None:
    """The process is killed when it has used so much more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + seconds + 1, resource.RLIM_INFINITY))


def warm_up() -> None:
    """Decode something, so that what is imported or opened only then is there before the limits are."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 48_000, 0, "NONE", ""))
        writer.writeframes(bytes(48_000))
    file.seek(0)
    list(Blocks(file, "the first", Limits()))


def set_limits(highest: int) -> None:
    """No more memory, no file beside the one that is decoded, no process, no image of this one's memory on disk."""
    n_pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    n_bytes = n_pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    n_files = max(highest, *(int(file.name) for file in Path("/proc/self/fd").iterdir())) + 1
    for what, most in (
        (resource.RLIMIT_AS, n_bytes),
        (resource.RLIMIT_NOFILE, n_files),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def end_with_parent(channel: int, parent: int) -> None:
    """End this process when the other end of the socket is closed, also in the middle of a decoding."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP)
    while not poll.poll(_LOOKS_EVERY_MS) and os.getppid() == parent:
        pass  # a child that the parent has forked may hold the socket open when the parent has gone
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
