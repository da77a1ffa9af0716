"""Bytes into messages and back: MessagePack, with every type, length and range checked while decoding."""

from typing import TypeVar

import msgspec

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.fields import MAX_WHY

MessageT = TypeVar("MessageT", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[msgspec.Struct]] = {}


def encode(message: msgspec.Struct) -> bytes:
    """The message as it travels: MessagePack."""
    return _encoder.encode(message)


def plain(text: str, limit: int = MAX_WHY) -> str:
    """A text that somebody else made, as it can travel: at most ``limit`` letters, without half characters."""
    return str(text)[:limit].encode(errors="replace").decode()


def decode(raw: bytes, kind: type[MessageT]) -> MessageT:
    """The message in these bytes. Raises SchedError INVALID_MESSAGE, naming the field, for anything else."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message = decoder.decode(raw)
    except (msgspec.DecodeError, TypeError, ValueError, BufferError, RecursionError) as error:
        # ValueError: bytes that are no UTF-8; BufferError: a view that is not contiguous
        raise SchedError(Code.INVALID_MESSAGE, f"not a {kind.__name__} message: {plain(str(error), 300)}") from None
    if not isinstance(message, kind):
        raise SchedError(Code.INVALID_MESSAGE, f"not a {kind.__name__} message")
    return message
