"""Reads a node's file of profiles, on that node, for the Registry."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.nodes.profiles import BadProfileError, Profile, read_profile
from ray_sched.settings import profiles_file_variable
from ray_sched.wire.peers import PeerUnavailableError
from ray_sched.yaml_file import MAX_FILE_BYTES, parse_yaml

_TIMEOUT_S = 30.0


class _FileRead(NamedTuple):
    """What a task brings back from a node."""

    path: str
    raw: bytes = b""
    why_not: str = ""


async def read_node_profile(ray_node_id: str, name: str, path: str) -> Profile:
    """The profile in the file on that node. Raises SchedError with what is wrong, or PeerUnavailableError."""
    strategy = NodeAffinitySchedulingStrategy(ray_node_id, soft=False)
    task: Any = ray.remote(_read_file)
    reading = task.options(num_cpus=0, max_retries=0, enable_task_events=False, scheduling_strategy=strategy).remote(
        path
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            read: _FileRead = await reading
    except (ray.exceptions.RayError, TimeoutError) as error:
        what = type(error).__name__
        raise PeerUnavailableError(f"profile {name}: its file cannot be read on that node ({what})") from None
    if read.why_not:
        why = f"the settings have no profile {name!r}, and on this node {read.why_not}"
        raise SchedError(Code.INVALID_CONFIGURATION, why)
    try:
        return read_profile(parse_yaml(read.raw, read.path), name, read.path)
    except BadProfileError as error:
        raise SchedError(Code.INVALID_CONFIGURATION, str(error)) from None


def _read_file(path: str) -> _FileRead:
    """Runs on the node."""
    place = profiles_file_variable() or path
    try:
        with Path(place).open("rb") as file:
            return _FileRead(place, file.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return _FileRead(place, why_not=f"there is no file {place}")
    except (OSError, ValueError) as error:
        return _FileRead(place, why_not=f"the file {place} cannot be read: {error}")
