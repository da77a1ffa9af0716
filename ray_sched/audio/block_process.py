"""The process that decodes one long recording, a block at a time, under the limits of ``decoder_process``.

It is given a socket and the open file, and first an Order on the socket. It answers with frames: four bytes of length,
little endian, and so many bytes of 16-bit samples; after a length of zero an Answer, and the socket ends. It waits
while nobody reads, so that it is never more than a few blocks ahead, and ends with whoever started it.
"""

import os
import signal
import socket
import struct
import threading

from ray_sched.audio.decoder_process import (
    Answer,
    Order,
    allow_cpu,
    answer_of,
    blocks_of,
    decode_order,
    encode,
    end_with_parent,
    set_limits,
    warm_up,
)
from ray_sched.audio.report import AudioReport

LENGTH = struct.Struct("<I")
_CPU_PER_MIB_S = 1
"""To find one's way in a container, which takes 0.02 s; a block has as much as the order says."""


def main(channel: int, file: int, parent: int) -> None:
    """Decode. Numbers of the socket and of the open file, and the parent's process id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=channel)
    threading.Thread(target=end_with_parent, args=(channel, parent), daemon=True).start()
    warm_up()
    set_limits(max(channel, file))
    with connection, connection.makefile("rb") as orders:
        order = decode_order(orders.read(LENGTH.unpack(orders.read(LENGTH.size))[0]))
        answer = encode(_decoded(order, file, connection))
        connection.sendall(LENGTH.pack(0) + answer)


def _decoded(order: Order, file: int, connection: socket.socket) -> Answer:
    def decode() -> AudioReport:
        with os.fdopen(file, "rb") as stream:
            stream.seek(0)  # it has one position with whoever wrote it
            allow_cpu(order.cpu_s + os.fstat(file).st_size * _CPU_PER_MIB_S // 2**20)
            blocks = blocks_of(order, stream)
            for block in filter(len, blocks):  # an empty one would be the end
                samples = block.astype("<i2", copy=False).tobytes()
                connection.sendall(LENGTH.pack(len(samples)) + samples)
                allow_cpu(order.cpu_s)
        return blocks.report

    return answer_of(order, decode)
