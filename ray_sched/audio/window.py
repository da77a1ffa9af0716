"""A part of a stream that looks like a whole file, with a header of one's own before it."""

import io
import os
from typing import BinaryIO

_NO_FILE_REACHES = 2**62


class Window(io.RawIOBase):
    """``head``, then ``size`` bytes of a stream from ``start``. Shares the stream's position, so one is read at a time.

    The decoder copies what ``read`` returns into a buffer of the size it asked for, so a stream that gives more than
    that must never reach it.
    """

    def __init__(self, stream: BinaryIO, start: int, size: int, head: bytes = b"") -> None:
        super().__init__()
        self._stream = stream
        self._start = start
        self._head = head
        self._size = len(head) + max(0, size)
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, fewer only at the end or where the stream itself gives fewer."""
        n_left = max(0, self._size - self._at)
        n_wanted = n_left if size is None or size < 0 else min(size, n_left)
        part = self._head[self._at : self._at + n_wanted]
        if len(part) < n_wanted:
            self._stream.seek(self._start + max(0, self._at - len(self._head)))
            part += self._stream.read(n_wanted - len(part))[: n_wanted - len(part)]
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position of the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "a position before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """The position in the window."""
        return self._at


def size_of(stream: BinaryIO) -> int:
    """Bytes in a stream that can be sought in."""
    return stream.seek(0, os.SEEK_END)


def bytes_at(stream: BinaryIO, start: int, size: int) -> bytes:
    """``size`` bytes from ``start``, or as many as there are: none where no file reaches, as damaged lengths say."""
    if not 0 <= start < _NO_FILE_REACHES:
        return b""
    stream.seek(start)
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts) if len(parts) != 1 else parts[0]
