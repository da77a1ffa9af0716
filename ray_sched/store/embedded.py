"""The embedded Valkey or Redis server, for when no ``redis_url`` is given. Starts, watches and ends it; reads no data.

The server lives no longer than the process that started it, keeps an append-only file under the data directory, and
is reached through a unix socket that only this user can open.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

from ray_sched.core.errors import Code, SchedError
from ray_sched.store.data_dir import HomeLock, private_home, refuse_older_server
from ray_sched.store.server_binary import Server, find_server

AppendFsync = Literal["everysec", "always"]

MAX_SOCKET_PATH_BYTES: Final = 100
"""Linux allows 107 bytes for the path of a unix socket; longer ones move to the temporary directory."""
START_TIMEOUT_S: Final = 30.0
"""Seconds a server may take to load its file and answer."""
STOP_TIMEOUT_S: Final = 10.0
"""Seconds a server may take to sync its file before it is killed."""
POLL_S: Final = 0.01
LOG_TAIL_LINES: Final = 3

# Becomes the server after asking the kernel to end it with its parent (PR_SET_PDEATHSIG is 1, SIGTERM is 15). Not a
# preexec_fn: that may deadlock in a process with threads. argv[1] is the parent, which may already be gone.
EXEC_TIED_TO_PARENT: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the scheduler is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedis:
    """One server on one data directory. ``start`` and ``stop`` block, so not in an event loop, and may be repeated.

    Guarantees: two servers never share a data directory; the server ends when this process does, however that ends;
    what was acknowledged survives the server's death and a power cut, with "everysec" all but the last second or two (a
    disk that is slow to sync holds Redis's writes back for up to two).
    A server that dies by itself shows in ``is_running`` and may be started again, at the same address.
    """

    def __init__(self, server: Server | None = None) -> None:
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._socket_path = Path()
        self._socket_dir: tempfile.TemporaryDirectory[str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the server process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._started().pid

    @property
    def url(self) -> str:
        """Address for :func:`ray_sched.store.redis_store.open_store`: ``unix:///...``."""
        self._started()
        return f"unix://{quote(str(self._socket_path))}"

    def start(self, data_dir: Path | str, appendfsync: AppendFsync = "everysec", port: int | None = None) -> Self:
        """Start the server on ``data_dir`` and return once it answers, after ``START_TIMEOUT_S`` at most.

        ``port``: listen there, too, on 127.0.0.1 and without a password. Raises :class:`SchedError`: MISSING_PART (no
        server program), INVALID_CONFIGURATION (directory), PORT_IN_USE, SCHEDULER_DEPENDENCY_DOWN (all else).
        """
        if self.is_running:
            return self
        self._end()
        server = self._server or find_server()
        home = private_home(Path(data_dir))
        refuse_older_server(home, server)
        lock = HomeLock(home)
        try:
            self._socket_path = self._free_socket_path(home)
            self._launch([server.path, *_options(home, self._socket_path, appendfsync, port)], home, lock.handle)
            lock.sign(self.pid)
        finally:
            lock.release()  # the server has a share of its own: the lock lives exactly as long as it does
        try:
            self._wait_until_it_answers(home, port)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End and reap the server: SIGTERM, on which Redis syncs its file as on SHUTDOWN, and SIGKILL if that hangs."""
        self._end()
        if self._socket_dir is not None:
            self._socket_dir.cleanup()
            self._socket_dir = None

    def _end(self) -> None:
        if self._process is not None and self._keeper is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                self._process.send_signal(number)
                self._keeper.join(STOP_TIMEOUT_S)
        self._process = self._keeper = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("EmbeddedRedis.start was not called")
        return self._process

    def _free_socket_path(self, home: Path) -> Path:
        path = home / "redis.sock"
        if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            self._socket_dir = self._socket_dir or tempfile.TemporaryDirectory(prefix="ray_sched_")
            path = Path(self._socket_dir.name) / "redis.sock"
        path.unlink(missing_ok=True)
        return path

    def _launch(self, command: list[str], home: Path, lock_handle: int) -> None:
        """Start the process from a thread that waits for it: the kernel ties it to the thread, not to the process."""
        launched: Future[subprocess.Popen[bytes]] = Future()

        def keep() -> None:
            try:
                process = _spawn(command, _fresh_log(home), lock_handle)
            except OSError as error:
                launched.set_exception(error)
            else:
                launched.set_result(process)
                process.wait()

        self._keeper = threading.Thread(target=keep, name="embedded-redis", daemon=True)
        self._keeper.start()
        self._process = launched.result()

    def _wait_until_it_answers(self, home: Path, port: int | None) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self._socket_path):
            if not self.is_running or time.monotonic() > deadline:
                raise _start_failure(home, port)
            time.sleep(POLL_S)


def _options(home: Path, socket_path: Path, appendfsync: AppendFsync, port: int | None) -> list[str]:
    options = {
        "port": str(port or 0),
        "bind": "127.0.0.1",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(home),
        "save": "",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "aof-load-truncated": "yes",  # a torn last transaction is dropped, not a reason to stay away
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _fresh_log(home: Path) -> Path:
    log = home / "redis.log"
    if log.exists():
        log.replace(home / "redis.log.1")
    return log


def _spawn(command: list[str], log: Path, lock_handle: int) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 # our own command line
            [sys.executable, "-I", "-S", "-c", EXEC_TIED_TO_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the scheduler, which drains first and then stops the server
            pass_fds=(lock_handle,),
        )


def _answers(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _start_failure(home: Path, port: int | None) -> SchedError:
    log = (home / "redis.log").read_text(errors="replace")
    if port is not None and "in use" in log:
        return SchedError(Code.PORT_IN_USE, f"port {port} is in use by another program; choose another for the store")
    tail = " | ".join(line.strip() for line in log.splitlines()[-LOG_TAIL_LINES:])
    return SchedError(Code.SCHEDULER_DEPENDENCY_DOWN, f"the embedded Redis did not start, see {home}/redis.log: {tail}")
