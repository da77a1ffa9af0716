"""Blocking calls of Ray, from an event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


async def call_ray(call: Callable[..., T], *args: Any) -> T:
    """The result of a call that may block for as long as Ray's head is away, which may be for ever.

    It has a daemon thread of its own: a program waits at its end for the threads of ``asyncio.to_thread``, and would
    not end as long as Ray does not answer.
    """
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # it cannot be called off; only the waiting for it can

    def run() -> None:
        try:
            done.set_result(call(*args))
        except Exception as error:  # noqa: BLE001  # it is raised where the call is awaited
            done.set_exception(error)

    threading.Thread(target=run, name="ray-call", daemon=True).start()
    return await asyncio.wrap_future(done)
