"""The processes of a benchmark's cluster: CPU and memory, and whose they are.

Ray, Redis and the actors are descendants of the process that measures. Contestants share one cluster, so that they can
alternate; what a contestant started for itself is told by its process's title and counts for nobody else.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

_MB = 2**20
_LOOK_S = 0.25


class Processes:
    """The process that measures, and all its descendants."""

    def __init__(self, titles: Mapping[str, tuple[str, ...]]) -> None:
        """``titles``: by owner, how the titles of the processes begin that are there for it alone, without a path."""
        self._titles = titles
        self._me = psutil.Process()

    def of(self, owner: str) -> list[psutil.Process]:
        """Every process but those of the other owners."""
        others = [title for name, titles in self._titles.items() if name != owner for title in titles]
        own = self._titles.get(owner, ())
        return [one for one in self._all() if not _begins(one, others) or _begins(one, own)]

    def _all(self) -> list[psutil.Process]:
        return [self._me, *self._me.children(recursive=True)]


def _begins(process: psutil.Process, titles: Iterable[str]) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        title = (" ".join(process.cmdline()).split() or [""])[0].rpartition("/")[2]
        return any(title.startswith(beginning) for beginning in titles)
    return False


def cpu_s(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """CPU seconds spent so far, user and system, by process."""
    spent = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system
    return spent


def spent_s(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """What was spent in between; a process that was not there before has spent all of its own."""
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
