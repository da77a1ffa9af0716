"""Blocking calls of Ray, from an event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def call_ray(call: Callable[..., T], *args: Any) -> T:
    """The result of a call that may block for as long as Ray's head is away, which may be for ever.

    It has a daemon thread of its own: a program waits at its end for the threads of ``asyncio.to_thread``, and would
    not end as long as Ray does not answer.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(error: Exception | None, result: Any = None) -> None:
        if done.done():  # cancelled: nobody waits any more
            return
        if error:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        try:
            outcome: tuple[Any, ...] = (None, call(*args))
        except Exception as error:  # noqa: BLE001  # it is raised where the call is awaited
            outcome = (error,)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="ray-call", daemon=True).start()
    return await done
