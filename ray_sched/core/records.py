"""Records read back from the store: which can be taken up, and one sentence on those that cannot.

A record may have been written by another version, or by hand. One that cannot be read must not keep the others from
being taken up: it is left where it is, and the log names the first flaw. This never knows what a record describes:
those who own jobs and nodes give the decoder, and a function that finds what cannot be true of what they wrote.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

RecordT = TypeVar("RecordT")
_MAX_WHY = 200


class ReadBack(NamedTuple, Generic[RecordT]):
    """What came of the records."""

    readable: list[RecordT]
    n_left_out: int
    why: str
    """Of the first one that was left out; empty if none was."""

    def sentence(self, what: str) -> str:
        """For the log."""
        return f"{self.n_left_out} records of {what} cannot be taken up and are left where they are: {self.why}"


def read_back(
    records: Iterable[bytes],
    decode: Callable[[bytes], RecordT],
    flaw_of: Callable[[RecordT], str | None] = lambda _record: None,
) -> ReadBack[RecordT]:
    """Decode the records in order; what cannot be decoded, or in which ``flaw_of`` finds a flaw, is left out.

    ``decode`` raises ``msgspec.DecodeError``, ``ValueError`` or ``RecursionError`` for what it cannot read.
    """
    readable: list[RecordT] = []
    left_out: list[str] = []
    for record in records:
        try:
            found = decode(record)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            left_out.append(str(error))
            continue
        flaw = flaw_of(found)
        if flaw:
            left_out.append(flaw)
        else:
            readable.append(found)
    return ReadBack(readable, len(left_out), (left_out or [""])[0][:_MAX_WHY])
