"""The processes of a trial: this one and everything it started, what CPU they use and what memory they hold."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

_MB = 2**20
_LOOK_S = 0.25


def family() -> list[psutil.Process]:
    """The process that asks and all its descendants: Ray, Redis, proxies and actors."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


class CpuSpent:
    """CPU of the family while this block ran: ``spent_s``, user and system."""

    def __enter__(self) -> Self:
        self._before = family()
        self._then = cpu_s(self._before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = cpu_s(self._before)  # before new ones are looked for, which takes CPU itself
        now |= cpu_s(one for one in family() if one.pid not in now)
        self.spent_s = spent_s(self._then, now)


def cpu_s(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """CPU seconds used so far, user and system, by process."""
    used = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used


def spent_s(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Used in between; of a process that was not there before all that it has used counts."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


class PeakMemory:
    """The most memory there was while this block ran, looked at four times a second in a thread of its own."""

    def __init__(self, processes: Iterable[psutil.Process], store_bytes: Callable[[], int]) -> None:
        self._processes = list(processes)
        self._store_bytes = store_bytes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)
        self.rss_mb = 0.0
        self.store_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.rss_mb = max(self.rss_mb, sum(rss_bytes(process) for process in self._processes) / _MB)
            self.store_mb = max(self.store_mb, self._store_bytes() / _MB)
            if self._over.wait(_LOOK_S):
                return


def rss_bytes(process: psutil.Process) -> int:
    """Resident memory; 0 of a process that has ended."""
    with suppress(psutil.NoSuchProcess):
        rss: int = process.memory_info().rss
        return rss
    return 0
