"""Bytes into messages and back: MessagePack, with every type, length and range checked while decoding."""

from typing import TypeVar

import msgspec

from ray_sched.core.errors import Code, SchedError

MessageT = TypeVar("MessageT", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[msgspec.Struct]] = {}


def encode(message: msgspec.Struct) -> bytes:
    """The message as it travels."""
    return _encoder.encode(message)


def decode(raw: bytes, kind: type[MessageT]) -> MessageT:
    """The message in these bytes. Raises SchedError INVALID_MESSAGE, naming the field, for anything else."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        message = decoder.decode(raw)
    except (msgspec.DecodeError, TypeError) as error:
        raise SchedError(Code.INVALID_MESSAGE, f"not a {kind.__name__} message: {error}") from None
    if not isinstance(message, kind):
        raise SchedError(Code.INVALID_MESSAGE, f"not a {kind.__name__} message")
    return message
