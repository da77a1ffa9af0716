"""The process of one replica: it loads an engine and runs what its agent sends.

It dies with its agent: the kernel kills it when the agent's thread ends, and it exits by itself when stdin closes. What
runs when, and beside what, is decided by its :mod:`passes <ray_sched.agent.passes>`.
"""

import ctypes
import logging
import os
import signal
import threading
from contextlib import suppress
from typing import BinaryIO, NoReturn

from ray_sched.agent.engine import Engine
from ray_sched.agent.engine_messages import (
    LENGTH_BYTES,
    DropRun,
    EngineLoaded,
    FromProcess,
    LoadEngine,
    LoadFailed,
    RunWork,
    ToProcess,
    body_length,
    decode_to_process,
    describe_error,
    encode_frame,
)
from ray_sched.agent.engines import find_engine
from ray_sched.agent.passes import Passes, Reply
from ray_sched.agent.warm_up import load_and_warm_up
from ray_sched.core.errors import SchedError

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one agent on stdin and stdout until stdin ends."""
    logging.basicConfig(level=logging.INFO, format="engine process %(process)d: %(message)s")
    commands, replies = _channel()
    threading.current_thread().name = "engine"
    lock = threading.Lock()  # runs reply from several threads, and an engine may emit partials from its own

    def reply(message: FromProcess) -> None:
        frame = encode_frame(message)
        with lock:
            replies.write(frame)
            replies.flush()

    try:
        passes = _load(commands, reply)
        for number in range(1, passes.at_once):
            threading.Thread(target=_work, args=(passes,), daemon=True, name=f"engine-{number}").start()
        reply(EngineLoaded())
    except BrokenPipeError:
        _exit(0)  # the agent is gone
    _work(passes)


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


def _load(commands: BinaryIO, reply: Reply) -> Passes:
    """Make the engine that the first message names, and load it in this, the main thread."""
    message = _read(commands)
    assert isinstance(message, LoadEngine)  # noqa: S101  # the agent sends it first
    try:
        engine: Engine = find_engine(message.engine)(message.declared, message.options)
        if hasattr(engine, "share"):
            engine.share(1 if message.is_batched else message.slots)
        passes = Passes(engine, message, reply)
        threading.Thread(target=_listen, args=(commands, passes), daemon=True, name="commands").start()
        load_and_warm_up(engine)
    except SchedError as error:
        reply(LoadFailed(error.message, error.code))
        _exit(1)
    except Exception as error:
        logger.exception("loading engine %s failed", message.engine)
        reply(LoadFailed(describe_error(error), None))
        _exit(1)
    return passes


def _listen(commands: BinaryIO, passes: Passes) -> None:
    """Hand on what the agent sends; what ends this thread ends the process."""
    try:
        while message := _read(commands):
            if isinstance(message, RunWork):
                passes.put(message)
            elif isinstance(message, DropRun):
                passes.drop(message)
    except BrokenPipeError:
        pass  # the agent is gone
    except BaseException:
        logger.exception("what the agent sent cannot be read")
        _exit(1)
    _exit(0)


def _read(commands: BinaryIO) -> ToProcess | None:
    """The next message; None if stdin has ended."""
    head = commands.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    body = commands.read(body_length(head))
    return decode_to_process(body) if len(body) == body_length(head) else None


def _work(passes: Passes) -> NoReturn:
    """Run for ever. What ends this thread ends the process: its slot must not be lost in silence."""
    try:
        passes.work()
    except BrokenPipeError:
        _exit(0)  # the agent is gone
    except BaseException:
        logger.exception("a run ended its thread")
        _exit(1)


def _exit(status: int) -> NoReturn:
    os._exit(status)  # at once, even in the middle of a run: nobody waits for it any more


if __name__ == "__main__":
    main()
