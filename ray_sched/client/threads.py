"""Daemon threads for calls that may block: the event loop never waits for them, nor does the end of the program.

A call that hangs costs its own thread: others get new ones, up to a bound.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

HANGS_AFTER_S = 0.2
"""A thread that is with its call for longer does not count any more among those that work."""
_MAX_THREADS = 256
_IDLE_S = 10.0


class _Call(NamedTuple):
    done: "Future[Any]"
    call: Callable[[], Any]


class Threads:
    """Threads that come with the first calls and go when there are none. Used from event loops and threads alike."""

    def __init__(
        self,
        name: str,
        n_working: int,
        n_most: int = _MAX_THREADS,
        idle_s: float = _IDLE_S,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        """``n_working``: so many calls are worked on at a time, beside those that hang; ``n_most``: with these.

        ``idle_s``: a thread without a call for so long ends, after it has called ``on_idle``.
        """
        self._idle_s = idle_s
        self._on_idle = on_idle
        self._name = name
        self._n_working = n_working
        self._n_most = n_most
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._began_s: dict[int, float] = {}
        """When each busy thread began its call, by the thread's number."""
        self._n_threads = 0
        self._n_waiting = 0

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Call it in a thread, which is looked for once; ``run`` goes on looking."""
        done: Future[T] = Future()
        with self._lock:
            self._n_waiting += 1
        self._calls.put(_Call(done, call))
        self._grow()
        return done

    async def run(self, call: Callable[[], T]) -> T:
        """The result of a call in a thread. Cancelling it keeps the call from being begun; it ends none."""
        result = asyncio.wrap_future(self.submit(call))
        try:
            while self._is_short() and not result.done():  # those that work now may turn out to hang
                await asyncio.wait([result], timeout=HANGS_AFTER_S)
                self._grow()
            return await result
        finally:
            result.cancel()

    def _is_short(self) -> bool:
        """Whether a call waits for a thread."""
        with self._lock:
            return self._n_waiting > self._n_threads - len(self._began_s)

    def _grow(self) -> None:
        """Start a thread if a call waits for one and too few work."""
        now_s = time.monotonic()
        with self._lock:
            n_hanging = sum(now_s - began_s > HANGS_AFTER_S for began_s in self._began_s.values())
            n_idle = self._n_threads - len(self._began_s)
            n_wanted = min(n_hanging + max(self._n_working, n_hanging), self._n_most)  # many may have come at once
            if self._n_waiting <= n_idle or self._n_threads >= n_wanted:
                return
            self._n_threads += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                done, call = self._calls.get(timeout=self._idle_s)
            except queue.Empty:
                if self._may_end():
                    return
                continue
            self._do(done, call)
            del done, call  # or the last result lives as long as the next call is waited for

    def _may_end(self) -> bool:
        """Whether a thread without a call ends, as there is none for it."""
        with self._lock:
            if self._n_waiting:
                return False
            self._n_threads -= 1
        if self._on_idle:
            self._on_idle()
        return True

    def _do(self, done: "Future[Any]", call: Callable[[], Any]) -> None:
        number = threading.get_ident()
        with self._lock:
            self._n_waiting -= 1
            self._began_s[number] = time.monotonic()
        try:
            if done.set_running_or_notify_cancel():
                _settle(done, call)
        finally:
            with self._lock:
                del self._began_s[number]


def _settle(done: "Future[Any]", call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised where the call is awaited
        with suppress(RuntimeError):
            done.set_exception(error)
    else:
        done.set_result(result)
