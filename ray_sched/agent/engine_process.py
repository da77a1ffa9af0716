"""One slot's engine in a process of its own, and the messages it exchanges with the agent.

Frames on stdin and stdout: four bytes of length, little endian, then one msgpack message. The process runs one
attempt at a time. It dies with its agent: the kernel kills it when the agent's thread ends, and it exits by itself
when stdin closes. Nothing in here decides anything.
"""

import ctypes
import logging
import os
import queue
import signal
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, NoReturn

import msgspec
import numpy as np
from msgspec import Struct

from ray_sched.agent.engine import Engine, EngineResult, ModelNotAvailableError, RefusedError, Work
from ray_sched.agent.engines import find_engine
from ray_sched.core.capability import Capability
from ray_sched.core.errors import Code, SchedError

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size
MAX_FRAME_BYTES = 256 * 2**20
"""Of a reply: 45 minutes of speech at 48 kHz."""
_PR_SET_PDEATHSIG = 1


class LoadEngine(Struct, frozen=True, tag=True):
    """Agent to process, first and once: make this engine and load it."""

    engine: str
    declared: Capability
    options: dict[str, str]


class RunWork(Struct, frozen=True, tag=True):
    """Agent to process, after EngineLoaded or an end of the work before: run this."""

    work: Work
    audio: bytes
    """16 kHz mono, signed 16-bit little endian."""


class EngineLoaded(Struct, frozen=True, tag=True):
    """Process to agent, once: ready for work."""


class LoadFailed(Struct, frozen=True, tag=True):
    """Process to agent, instead of EngineLoaded; the process ends."""

    message: str
    code: Code | None
    """Set when the engine itself named what is missing; loading again will not help."""


class PartialEmitted(Struct, frozen=True, tag=True):
    """Process to agent, while it runs: the text so far."""

    text: str


class EngineFinished(Struct, frozen=True, tag=True):
    """Process to agent: the work is done."""

    result: EngineResult


class EngineFailed(Struct, frozen=True, tag=True):
    """Process to agent: the work ended with an error; the engine lives on."""

    message: str
    missing_service: str = ""
    """Set when a model of this service is not available."""
    is_refusal: bool = False


ToProcess = LoadEngine | RunWork
FromProcess = EngineLoaded | LoadFailed | PartialEmitted | EngineFinished | EngineFailed

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


def decode_from_process(body: bytes) -> FromProcess:
    """A message of the engine process from its frame's body. Raises BadFrameError."""
    try:
        return _from_process.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadFrameError(f"it sent what is no message: {error}") from None


def main() -> None:
    """Serve one agent on stdin and stdout until stdin ends."""
    logging.basicConfig(level=logging.INFO, format="engine process %(process)d: %(message)s")
    commands, replies = _channel()
    threading.current_thread().name = "engine"
    inbox: queue.SimpleQueue[ToProcess] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, inbox), daemon=True, name="commands").start()

    lock = threading.Lock()  # an engine may emit partials from threads of its own

    def reply(message: FromProcess) -> None:
        with lock:
            replies.write(encode_frame(message))
            replies.flush()

    try:
        _serve(inbox, reply)
    except BrokenPipeError:
        _exit(0)  # the agent is gone


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends; elsewhere closing stdin has to do."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _channel() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout away from everyone else: native libraries print to them, and programs inherit them."""
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return commands, replies


def _listen(commands: BinaryIO, inbox: "queue.SimpleQueue[ToProcess]") -> None:
    while len(head := commands.read(LENGTH_BYTES)) == LENGTH_BYTES:
        body = commands.read(body_length(head))
        if len(body) < body_length(head):
            break
        inbox.put(_to_process.decode(body))
    _exit(0)


def _exit(status: int) -> NoReturn:
    os._exit(status)  # at once, even in the middle of a run: nobody waits for it any more


def _serve(inbox: "queue.SimpleQueue[ToProcess]", reply: Callable[[FromProcess], None]) -> None:
    engine: Engine | None = None
    while True:
        message = inbox.get()
        if isinstance(message, LoadEngine):
            engine = _load(message, reply)
        elif engine is not None:
            reply(_run(engine, message, lambda text: reply(PartialEmitted(text))))


def _load(message: LoadEngine, reply: Callable[[FromProcess], None]) -> Engine:
    try:
        engine = find_engine(message.engine)(message.declared, message.options)
        engine.load()
    except SchedError as error:
        reply(LoadFailed(error.message, error.code))
        _exit(1)
    except Exception as error:
        logger.exception("loading engine %s failed", message.engine)
        reply(LoadFailed(describe_error(error), None))
        _exit(1)
    reply(EngineLoaded())
    return engine


def _run(engine: Engine, message: RunWork, emit_partial: Callable[[str], None]) -> EngineFinished | EngineFailed:
    try:
        return _passable(engine.run(message.work, np.frombuffer(message.audio, dtype="<i2"), emit_partial))
    except ModelNotAvailableError as error:
        return EngineFailed(error.message, missing_service=error.service)
    except RefusedError as error:
        return EngineFailed(str(error), is_refusal=True)
    except BrokenPipeError:
        raise
    except Exception as error:
        logger.exception("job %s attempt %d failed", message.work.job_id, message.work.attempt)
        return EngineFailed(describe_error(error))


def _passable(result: EngineResult) -> EngineFinished:
    """The reply, read once as the agent will read it: a result of wrong types fails its run and nothing else."""
    finished = EngineFinished(result)
    decode_from_process(_encoder.encode(finished))
    return finished


def describe_error(error: BaseException) -> str:
    """The error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    main()
