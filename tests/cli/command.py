"""``ray-sched`` as a process of its own, and everything it started, found by a mark in the environment."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "ray_sched" / "data" / "speech"
ECHO = {
    "RAY_SCHED_LOCAL__ENGINE": "echo",
    "RAY_SCHED_DISPATCH__PENDING_TIMEOUT_MS": "1500",
    "RAY_SCHED_LOCAL__DASHBOARD_PORT": "0",
}
"""Settings of an ``up`` whose nodes need no speech recogniser, and that nobody looks at."""
_MARK = "STARTED_BY_THIS_TEST"


class Ended(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """A running ``ray-sched``. Its signals go to its whole process group, as Ctrl-C in a terminal does."""

    _stdin: int | IO[bytes] = subprocess.DEVNULL

    def __init__(
        self,
        args: Sequence[str | Path],
        data_dir: Path,
        program: Sequence[str] = ("-m", "ray_sched"),
        **variables: str,
    ) -> None:
        self.mark = uuid.uuid4().hex
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "COLUMNS"))}
        own = {_MARK: self.mark, "RAY_SCHED_DATA_DIR": str(data_dir), "HOME": str(data_dir)}
        self._process = subprocess.Popen(
            [sys.executable, *program, *map(str, args)],
            env=kept | own | variables,
            stdin=self._stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=data_dir,
        )

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_for_line(self, words: str, timeout_s: float = 60) -> str:
        """Until stderr says it. Returns the line."""
        give_up_at = time.monotonic() + timeout_s
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if words in line:
                return line
            assert time.monotonic() < give_up_at, f"it did not say {words!r}"
        raise AssertionError(f"it ended without saying {words!r}")

    def end(self, timeout_s: float = 60) -> Ended:
        """Wait for the end."""
        try:
            out, err = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return Ended(self._process.returncode, out, err)

    def kill(self) -> None:
        """End it and everything it started, if a test failed."""
        for process in self._alive():
            process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def left_behind(self, retry_for_s: float = 5) -> list[str]:
        """Processes it started that still run."""
        give_up_at = time.monotonic() + retry_for_s
        while (alive := self._alive()) and time.monotonic() < give_up_at:
            time.sleep(0.1)
        return [f"{process.pid} {process.name()}" for process in alive]

    def _alive(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            return not is_dead and process.environ().get(_MARK) == self.mark
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


class _Piped(Command):
    """One that reads what another process writes."""

    def __init__(
        self, args: Sequence[str | Path], data_dir: Path, stdin: IO[bytes], variables: Mapping[str, str]
    ) -> None:
        self._stdin = stdin
        super().__init__(args, data_dir, **variables)


def ray_sched(data_dir: Path, *args: str | Path, **variables: str) -> Ended:
    """Run a verb to its end."""
    return Command(args, data_dir, **variables).end()


def piped(data_dir: Path, file: Path, *args: str | Path, **variables: str) -> Ended:
    """Run a verb whose stdin is a pipe that another process writes a file into."""
    with subprocess.Popen(["cat", file], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        return _Piped(args, data_dir, cat.stdout, variables).end()


def script(data_dir: Path, code: str) -> Ended:
    """Run a program of somebody who uses the library."""
    return Command([], data_dir, ("-c", code)).end()
