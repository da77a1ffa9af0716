"""The blocks of a long recording, decoded in a process of its own: what is in a file can end that, and no other."""

import io
import os
import socket
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec
import numpy as np

from ray_sched.audio.block_process import LENGTH
from ray_sched.audio.decoder_process import MAX_MESSAGE_BYTES, Heard, Order, decode_answer, encode
from ray_sched.audio.refusals import invalid
from ray_sched.audio.report import AudioReport
from ray_sched.client.decoder_start import start_decoder
from ray_sched.core.errors import SchedError
from ray_sched.wire.samples import Samples

_MAX_BLOCK_BYTES = 64 * 2**20


def decoded_blocks(stream: BinaryIO, order: Order) -> Generator[Samples, None, AudioReport]:
    """16 kHz mono samples of an open file, a few seconds at a time, and what was heard as the generator's value.

    Raises SchedError INVALID_AUDIO at any block: what was given before is then not the whole audio.

    An ordinary file is read where it is; the rest of anything else is first copied into a temporary one.
    """
    with _ordinary(stream, order) as file, _started(file) as connection, connection.makefile("rb") as answers:
        try:
            message = encode(order)
            connection.sendall(LENGTH.pack(len(message)) + message)
            while n_bytes := _length(answers):
                yield np.frombuffer(_exactly(answers, n_bytes), "<i2")
            answer = decode_answer(answers.read(MAX_MESSAGE_BYTES))
        except (OSError, EOFError, msgspec.DecodeError):
            raise invalid(
                f"{order.name} ended the process that decoded it, or took more than it may; convert it to WAV"
            ) from None
    if not isinstance(answer, Heard):
        raise SchedError.of(answer.refusal)
    return answer.report


def _length(answers: BinaryIO) -> int:
    n_bytes = int(LENGTH.unpack(_exactly(answers, LENGTH.size))[0])
    if n_bytes > _MAX_BLOCK_BYTES:
        raise EOFError
    return n_bytes


def _exactly(answers: BinaryIO, n_bytes: int) -> bytes:
    given = answers.read(n_bytes)
    if len(given) < n_bytes:
        raise EOFError
    return given


@contextmanager
def _started(file: int) -> Generator[socket.socket, None, None]:
    """A process that decodes this file, on the other end of the socket; it is killed at the end."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = start_decoder("block_process", theirs.fileno(), file)
        try:
            yield ours
        finally:
            process.kill()
            process.wait()


@contextmanager
def _ordinary(stream: BinaryIO, order: Order) -> Generator[int, None, None]:
    """The number of an ordinary open file with all that is left in the stream, and with a position of its own."""
    number = _reopened(stream)
    if number is not None:
        with os.fdopen(number, "rb"):
            yield number
        return
    with tempfile.TemporaryFile() as copy:
        n_left = order.limits.max_source_bytes
        while part := stream.read(2**18):
            if not isinstance(part, bytes | bytearray | memoryview):
                raise invalid(f"{order.name} is open for text; open it with mode 'rb'")
            n_left -= len(part)
            if n_left < 0:
                most = order.limits.max_source_bytes // 2**20
                raise invalid(f"{order.name} holds more than {most} MiB; cut it into parts")
            copy.write(part)
        copy.flush()
        yield copy.fileno()


def _reopened(stream: BinaryIO) -> int | None:
    """None for what is no ordinary file, such as a pipe, or not the file itself, as what decompresses it."""
    raw = stream.raw if type(stream) is io.BufferedReader else stream
    if type(raw) is not io.FileIO or not stat.S_ISREG(os.fstat(raw.fileno()).st_mode) or stream.tell() != 0:
        return None
    return os.open(f"/proc/self/fd/{raw.fileno()}", os.O_RDONLY)
