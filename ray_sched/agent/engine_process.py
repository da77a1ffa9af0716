"""The process of one replica: it loads an engine and runs what its agent sends, several runs at a time if it may.

It dies with its agent: the kernel kills it when the agent's thread ends, and it exits by itself when stdin closes. It
decides nothing.
"""

import ctypes
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, NoReturn

import numpy as np

from ray_sched.agent.engine import Engine, ModelNotAvailableError, RefusedError
from ray_sched.agent.engine_messages import (
    LENGTH_BYTES,
    EngineFailed,
    EngineFinished,
    EngineLoaded,
    FromProcess,
    LoadEngine,
    LoadFailed,
    PartialEmitted,
    RunWork,
    ToProcess,
    body_length,
    decode_to_process,
    describe_error,
    encode_frame,
    passable,
)
from ray_sched.agent.engines import find_engine
from ray_sched.core.errors import SchedError

logger = logging.getLogger(__name__)

Inbox = queue.SimpleQueue[ToProcess]
Reply = Callable[[FromProcess], None]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one agent on stdin and stdout until stdin ends."""
    logging.basicConfig(level=logging.INFO, format="engine process %(process)d: %(message)s")
    commands, replies = _channel()
    threading.current_thread().name = "engine"
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, inbox), daemon=True, name="commands").start()

    lock = threading.Lock()  # runs reply from several threads, and an engine may emit partials from its own

    def reply(message: FromProcess) -> None:
        frame = encode_frame(message)
        with lock:
            replies.write(frame)
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


def _listen(commands: BinaryIO, inbox: Inbox) -> None:
    while len(head := commands.read(LENGTH_BYTES)) == LENGTH_BYTES:
        body = commands.read(body_length(head))
        if len(body) < body_length(head):
            break
        inbox.put(decode_to_process(body))
    _exit(0)


def _exit(status: int) -> NoReturn:
    os._exit(status)  # at once, even in the middle of a run: nobody waits for it any more


def _serve(inbox: Inbox, reply: Reply) -> None:
    """Load in the main thread, then run in it, too, and in one thread more for each slot more."""
    message = inbox.get()
    assert isinstance(message, LoadEngine)  # noqa: S101  # the agent sends it first
    engine = _load(message, reply)
    for number in range(1, message.slots):
        threading.Thread(target=_work, args=(engine, inbox, reply), daemon=True, name=f"engine-{number}").start()
    reply(EngineLoaded())
    _work(engine, inbox, reply)


def _load(message: LoadEngine, reply: Reply) -> Engine:
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
    return engine


def _work(engine: Engine, inbox: Inbox, reply: Reply) -> NoReturn:
    """Run one after another, for ever. What ends this thread ends the process: its slot must not be lost in silence."""
    try:
        while True:
            message = inbox.get()
            assert isinstance(message, RunWork)  # noqa: S101  # the agent sends nothing else now
            reply(_run(engine, message, reply))
            del message  # it holds the audio
    except BrokenPipeError:
        _exit(0)  # the agent is gone
    except BaseException:
        logger.exception("a run ended its thread")
        _exit(1)


def _run(engine: Engine, message: RunWork, reply: Reply) -> EngineFinished | EngineFailed:
    run, work = message.run, message.work
    try:
        audio = np.frombuffer(message.audio, dtype="<i2")
        return passable(EngineFinished(run, engine.run(work, audio, lambda text: reply(PartialEmitted(run, text)))))
    except ModelNotAvailableError as error:
        return EngineFailed(run, error.message, missing_service=error.service)
    except RefusedError as error:
        return EngineFailed(run, str(error), is_refusal=True)
    except BrokenPipeError:
        raise
    except Exception as error:
        logger.exception("job %s attempt %d failed", work.job_id, work.attempt)
        return EngineFailed(run, describe_error(error))


if __name__ == "__main__":
    main()
