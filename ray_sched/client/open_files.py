"""Open files that a user has given: what they are called, and how they stay readable when he closes them."""

import io
import os
import stat
from typing import Any


def name_of(stream: Any) -> str:
    """What people call it."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "the open file"


def own_view(stream: Any) -> Any:
    """The rest of an ordinary file, readable whatever becomes of the user's own object, which is left at its end.

    Anything else is returned as it is: what is in a pipe, or behind an object that is not the file itself, such as
    one that decompresses, can be read only through it.
    """
    if type(stream) not in {io.BufferedReader, io.FileIO} or stream.closed:
        return stream
    try:
        number = stream.fileno()
        is_file = stat.S_ISREG(os.fstat(number).st_mode) and stream.readable()
        if not is_file or (type(stream) is io.BufferedReader and type(stream.raw) is not io.FileIO):
            return stream
        view = _View(os.dup(number), stream.tell(), name_of(stream))
        stream.seek(0, os.SEEK_END)
    except (OSError, ValueError):  # it says so again when it is read
        return stream
    return view


class _View:
    """Bytes of an ordinary file from a position on. Moves no other reader's position."""

    def __init__(self, number: int, position: int, name: str) -> None:
        self.name = name
        self._file = io.FileIO(number, "rb")
        self._position = position

    def read(self, n_bytes: int) -> bytes:
        """At most so many; nothing at the end, and the file is closed."""
        part = os.pread(self._file.fileno(), n_bytes, self._position)
        self._position += len(part)
        if not part:
            self._file.close()
        return part
