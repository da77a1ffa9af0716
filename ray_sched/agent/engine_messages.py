"""The messages between an agent and the process of an engine's replica.

Frames on the process's stdin and stdout: four bytes of length, little endian, then one msgpack message. A run is named
by a number that this process gets once. Nothing in here decides anything.
"""

import struct

import msgspec
from msgspec import Struct

from ray_sched.agent.engine import EngineResult, Work
from ray_sched.core.agent.batches import BatchLimits
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size
MAX_FRAME_BYTES = 256 * 2**20
"""Of a reply: 45 minutes of speech at 48 kHz."""


class LoadEngine(Struct, frozen=True, tag=True):
    """Agent to process, first and once: make this engine and load it."""

    engine: str
    declared: Capability
    options: dict[str, str]
    slots: int
    """How many runs there will be at the same time, at most."""
    is_batched: bool = False
    """It runs batches, of no more than this:"""
    limits: BatchLimits = BatchLimits()
    audio: int = -1
    """Handle of the memory in which the agent puts the audio; the process inherits it."""


class RunWork(Struct, frozen=True, tag=True):
    """Agent to process, after EngineLoaded: run this as soon as it may; no more than ``slots`` at a time."""

    run: int
    work: Work
    place: int
    """Of its audio in the shared memory: 16 kHz mono, signed 16-bit little endian."""
    n_bytes: int


class DropRun(Struct, frozen=True, tag=True):
    """Agent to process: nobody wants this run any more. One that has not begun is dropped, others go on."""

    run: int


class EngineLoaded(Struct, frozen=True, tag=True):
    """Process to agent, once: ready for work."""


class LoadFailed(Struct, frozen=True, tag=True):
    """Process to agent, instead of EngineLoaded; the process ends."""

    message: str
    code: Code | None
    """Set when the engine itself named what is missing; loading again will not help."""


class PassBegan(Struct, frozen=True, tag=True):
    """Process to agent: if the process ends now, it ends in these runs.

    Sent of every pass of batches, and of a run that has a pass for itself.
    """

    runs: tuple[int, ...]


class PartialEmitted(Struct, frozen=True, tag=True):
    """Process to agent, while it runs: the text so far."""

    run: int
    text: str


class RunDropped(Struct, frozen=True, tag=True):
    """Process to agent, the answer to DropRun: the run had not begun, and never will."""

    run: int


class EngineFinished(Struct, frozen=True, tag=True):
    """Process to agent: the work is done."""

    run: int
    result: EngineResult


class EngineFailed(Struct, frozen=True, tag=True):
    """Process to agent: the work ended with an error; the engine lives on."""

    run: int
    message: str
    missing_service: str = ""
    """Set when a model of this service is not available."""
    is_refusal: bool = False


ToProcess = LoadEngine | RunWork | DropRun
FromProcess = EngineLoaded | LoadFailed | PassBegan | PartialEmitted | RunDropped | EngineFinished | EngineFailed

_encoder = msgspec.msgpack.Encoder()
_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


def encode_frame(message: ToProcess | FromProcess) -> bytes:
    """The frame of a message: length and msgpack."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class BadFrameError(ValueError):
    """What came is no frame of an engine process; the sentence names what is wrong with it."""


def body_length(head: bytes) -> int:
    """How many bytes follow the LENGTH_BYTES of a frame's head."""
    return int(_LENGTH.unpack(head)[0])


def reply_length(head: bytes) -> int:
    """How many bytes follow the head of a reply. Raises BadFrameError for more than MAX_FRAME_BYTES."""
    n_bytes = body_length(head)
    if n_bytes > MAX_FRAME_BYTES:
        raise BadFrameError(f"it claims a frame of {n_bytes} bytes")
    return n_bytes


def decode_to_process(body: bytes) -> ToProcess:
    """A message of the agent from its frame's body. Raises msgspec.DecodeError."""
    return _to_process.decode(body)


def decode_from_process(body: bytes) -> FromProcess:
    """A message of the engine process from its frame's body. Raises BadFrameError."""
    try:
        return _from_process.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadFrameError(f"it sent what is no message: {error}") from None


def passable(finished: EngineFinished) -> EngineFinished:
    """The same, read once as the agent will read it. Raises one of many errors for a result of wrong types."""
    decode_from_process(_encoder.encode(finished))
    return finished


def describe_error(error: BaseException) -> str:
    """The error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
