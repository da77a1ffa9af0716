"""The embedded server's place on disk: private, locked to one server, and never opened by an older one."""

import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from ray_sched.core.errors import Code, SchedError
from ray_sched.store.server_binary import Server

LOCK_WAIT_S: Final = 5.0
"""Seconds granted to a server whose scheduler has died to write its file and go."""
DYING_S: Final = 0.5
"""Seconds granted to a scheduler that is still there: one that was just killed takes some milliseconds to be gone."""
POLL_S: Final = 0.02

FIRST_WITH_SEVERAL_FILES: Final = (7,)
"""Since this version of Redis the append-only file is a folder, which an older server overlooks and starts empty."""


def private_home(data_dir: Path) -> Path:
    """``data_dir/redis``, made if need be, for this user only."""
    home = data_dir.expanduser().absolute() / "redis"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise _unusable(data_dir, error) from error
    return home


def refuse_unusable(data_dir: Path) -> None:
    """Make the data directory if need be. Raises SchedError INVALID_CONFIGURATION where no file can be made in it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _unusable(data_dir: Path, error: OSError) -> SchedError:
    sentence = f"data_dir {data_dir} cannot be used ({error.strerror}); set another data_dir"
    return SchedError(Code.INVALID_CONFIGURATION, sentence)


def refuse_older_server(home: Path, server: Server) -> None:
    """Raise if ``home`` was written by a server so much newer that this one would silently see no data."""
    if (home / "appendonlydir").exists() and server.version < FIRST_WITH_SEVERAL_FILES:
        raise SchedError(
            Code.SCHEDULER_DEPENDENCY_DOWN,
            f"{home} was written by Redis 7 or later, or Valkey, and {server.path} is older; pip install "
            '"ray-sched[embedded]", or use another data_dir',
        )


class HomeLock:
    """Makes sure that one server at a time works in a home. The lock lives as long as any process holds ``handle``."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire()
        except BaseException:
            self.release()
            raise

    def sign(self, server_pid: int) -> None:
        """Write into the lock file the process ids of this scheduler and of the server that it started."""
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, f"{os.getpid()} {server_pid}".encode(), 0)

    def release(self) -> None:
        """Give up this process's share of the lock."""
        os.close(self.handle)

    def _acquire(self) -> None:
        started = time.monotonic()
        while not self._try():
            scheduler, server = self._signed()
            is_alive = _is_alive(scheduler)
            if time.monotonic() - started > (DYING_S if is_alive else LOCK_WAIT_S):
                raise SchedError(
                    Code.SCHEDULER_DEPENDENCY_DOWN,
                    f"{self._home} is already in use by process {scheduler if is_alive else server}; "
                    "use another data_dir or stop it",
                )
            time.sleep(POLL_S)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _signed(self) -> tuple[int, int]:
        """Scheduler's and server's process id; zeros while the other one is about to sign."""
        words = os.pread(self.handle, 64, 0).split()
        return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)  # noqa: PLR2004 # see sign


def _is_alive(pid: int) -> bool:
    """A process that ended but was not waited for yet counts as dead."""
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
