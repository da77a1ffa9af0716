"""What ``doctor`` looks at on this machine, and on each node of a cluster that it has joined."""

import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from ray_sched.agent.engines.inventory import inventory
from ray_sched.core.errors import SchedError
from ray_sched.core.views.health import Check
from ray_sched.settings import RAYS_DASHBOARD_PORT, Settings, ray_variable
from ray_sched.store.server_binary import find_server
from ray_sched.system.ray_token import is_token_set

_GB = 2**30
_MB = 2**20
_NODE_MB = 700
"""Memory of a local node with its agent, beside the object store and the engine."""
_CLOCK_S = 0.5
_PROBE_TIMEOUT_S = 20.0


def check_machine(settings: Settings) -> Iterator[Check]:
    """What has to be right on this machine before anything is started on it."""
    yield Check(what="versions here", is_ok=True, found=f"Python {platform.python_version()}, Ray {_ray_version()}")
    yield _memory(settings)
    yield _shared_memory(settings)
    yield _disk(settings.data_dir)
    yield from _ports(settings)
    if not settings.store.redis_url:
        yield _server_binary()
    yield _engine(settings)


def _ray_version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  # nothing else here needs it

    return version("ray")


def _memory(settings: Settings) -> Check:
    available = psutil.virtual_memory().available
    needed = settings.local.nodes * _NODE_MB * _MB
    is_ok = available >= needed
    return Check(
        what="free memory",
        is_ok=is_ok,
        found=f"{available / _GB:.1f} GB",
        advice="" if is_ok else f"free some: {settings.local.nodes} local nodes take {needed / _GB:.1f} GB",
    )


def _shared_memory(settings: Settings) -> Check:
    needed = settings.local.nodes * settings.local.object_store_mb * _MB
    free = shutil.disk_usage("/dev/shm").free  # noqa: S108  # Ray's object store is there
    is_ok = free >= needed
    advice = f"give it {needed / _MB:.0f} MB (docker run --shm-size), or lower local.object_store_mb"
    return Check(
        what="shared memory", is_ok=is_ok, found=f"{free / _MB:.0f} MB in /dev/shm", advice="" if is_ok else advice
    )


def _disk(data_dir: Path) -> Check:
    there = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    is_ok = free >= _GB and os.access(there, os.W_OK)
    return Check(
        what="the data directory",
        is_ok=is_ok,
        found=f"{data_dir}, {free / _GB:.1f} GB free",
        advice="" if is_ok else "name another --data-dir, which can be written and has a gigabyte",
    )


def _ports(settings: Settings) -> Iterator[Check]:
    port = settings.local.dashboard_port
    wanted = {"the gateway's port": int(settings.gateway.listen.rpartition(":")[2] or 0)}
    if port and port != RAYS_DASHBOARD_PORT:
        wanted["the dashboard's port"] = port
    for what, number in wanted.items():
        with socket.socket() as probe:
            is_used = number and probe.connect_ex(("127.0.0.1", number)) == 0
        yield Check(
            what=what,
            is_ok=True,
            found=f"{number} is {'answered, by a gateway or another program' if is_used else 'free'}",
        )


def _server_binary() -> Check:
    try:
        server = find_server()
    except SchedError as error:
        return Check(what="the embedded server", is_ok=False, found="none", advice=error.message)
    return Check(what="the embedded server", is_ok=True, found=f"{server.path} {'.'.join(map(str, server.version))}")


def _engine(settings: Settings) -> Check:
    name = settings.local.engine
    row = next((row for row in inventory() if row.engine == name), None)
    if row is None or row.is_usable:
        return Check(what="the engine of local nodes", is_ok=True, found=name)
    advice = " or ".join(part.install for part in row.parts if not part.is_installed)
    return Check(what="the engine of local nodes", is_ok=False, found=f"{name} can do nothing here", advice=advice)


def check_authentication() -> Check:
    """Ray's variables, as another command of Ray's finds them."""
    mode, is_set = ray_variable("RAY_AUTH_MODE"), is_token_set()
    is_ok = not (mode == "disabled" and is_set)
    found = f"RAY_AUTH_MODE={mode or '(not set)'}, a token in the variables: {'yes' if is_set else 'no'}"
    advice = "" if is_ok else "unset RAY_AUTH_MODE or set it to token: the token is not shown to anybody"
    return Check(what="authentication", is_ok=is_ok, found=found, advice=advice)


class NodeFacts(Struct, frozen=True):
    """What one node says of itself."""

    python: str
    ray: str
    ray_sched: str
    time_s: float
    free_memory: int
    free_shm: int


def node_facts() -> NodeFacts:
    """On whichever node this runs."""
    from importlib.metadata import version  # noqa: PLC0415  # crosses processes with this function

    return NodeFacts(
        platform.python_version(),
        version("ray"),
        version("ray_sched"),
        time.time(),
        psutil.virtual_memory().available,
        shutil.disk_usage("/dev/shm").free,  # noqa: S108  # Ray's object store is there
    )


def check_nodes() -> list[Check]:
    """Every living node of the cluster that this process has joined: its versions, its clock, its memory."""
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415  # as above

    own, checks = node_facts(), []
    probe: Any = ray.remote(node_facts)
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        name = (node.get("Labels") or {}).get("ray-sched.io/node") or node["NodeManagerAddress"]
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answer = probe.options(num_cpus=0, scheduling_strategy=strategy, max_retries=0).remote()
        began_s = time.time()
        try:
            ray.get(answer, timeout=_PROBE_TIMEOUT_S)
            began_s = time.time()  # the first has started a process
            facts = ray.get(probe.options(num_cpus=0, scheduling_strategy=strategy).remote(), timeout=_PROBE_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            advice = "install ray-sched for the Python of Ray there, and see ray-sched nodes"
            found = f"{type(error).__name__}: {' '.join(str(error).split())[-200:]}"
            checks.append(Check(what=f"node {name}", is_ok=False, found=found, advice=advice))
        else:
            checks += _of_node(name, facts, own, facts.time_s - (began_s + time.time()) / 2)
    return checks


def _of_node(name: str, facts: NodeFacts, own: NodeFacts, off_s: float) -> list[Check]:
    versions = f"Python {facts.python}, Ray {facts.ray}, ray-sched {facts.ray_sched}"
    is_same = (facts.python, facts.ray, facts.ray_sched) == (own.python, own.ray, own.ray_sched)
    is_on_time = abs(off_s) <= _CLOCK_S
    memory = f"{facts.free_memory / _GB:.1f} GB of memory free, {facts.free_shm / _MB:.0f} MB of /dev/shm"
    return [
        Check(
            what=f"node {name}: versions",
            is_ok=is_same,
            found=versions,
            advice="" if is_same else f"install Python {own.python}, Ray {own.ray}, ray-sched {own.ray_sched} there",
        ),
        Check(
            what=f"node {name}: clock",
            is_ok=is_on_time,
            found=f"{off_s:+.2f} s from this machine's",
            advice="" if is_on_time else "let it take its time from the network (NTP): times of jobs are wrong",
        ),
        Check(what=f"node {name}: memory", is_ok=facts.free_memory > _GB // 2, found=memory,
              advice="" if facts.free_memory > _GB // 2 else "free some, or give it fewer slots"),
    ]  # fmt: skip
