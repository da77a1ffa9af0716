"""A Ray of our own on this machine, for ``demo``, for ``up`` without an address, and for tests.

Several raylets, so that it is a cluster and not a sketch of one; with token authentication, a directory of its own,
and nothing left when it is stopped. Other Rays on the machine are not touched.
"""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from ray_sched.core.capability import LABEL_PREFIX
from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import RAYS_DASHBOARD_PORT
from ray_sched.system.ray_session import keeping_signal_handler

RAY_ENVIRONMENT = {
    # A released object's bytes return in 0.1 s instead of 1 s: "freed after dispatch" means soon.
    "RAY_free_objects_period_milliseconds": "100",
    # A killed raylet is seen in 1.5 s instead of 12.6 s, a frozen one in 4 s instead of 64 s.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "500",
    # Workers at nice 0: 1.25 to 1.45 times the throughput under load.
    "RAY_worker_niceness": "0",
}
"""What every process of a cluster has in its environment; ``cluster.yaml`` says the same."""

_QUIET = {"RAY_usage_stats_enabled": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
_MB = 2**20
_DIR_PREFIX = "ray_sched-"
_MAX_SOCKET_PATH_BYTES = 107
"""Linux allows no more for the path of a unix socket."""
_LOOK_EVERY_S = 0.02
_LOOK_FOR_S = 90.0
"""On a machine that many share a raylet starts in more than the 30 s after which Ray itself looks no more."""
_MAX_PORTS = 100


class LocalNode(Struct, frozen=True, kw_only=True):
    """A node of a local cluster: its labels without their prefix."""

    labels: dict[str, str]
    num_cpus: int = 1
    num_gpus: int | None = None
    """In Ray's count; None: as many as Ray finds."""


def prepare_environment(token: str | None = None, guests: Mapping[str, str] | None = None) -> str:
    """Set Ray's variables in this process. Call it before Ray is first imported: Ray reads them then.

    ``guests``: variables of what else shall run on the cluster, such as Ray Serve.
    Returns the token every process of the cluster needs (``RAY_AUTH_TOKEN``). A process that has imported Ray keeps
    the token it had.
    """
    if "ray" in sys.modules:
        token = os.environ.get("RAY_AUTH_TOKEN", token)
    token = token or secrets.token_hex(32)
    os.environ.update(RAY_ENVIRONMENT | _QUIET | dict(guests or {}))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = token
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ.pop("RAY_ADDRESS", None)
    return token


def be_impatient() -> None:
    """Let Ray look for its node on this machine for 15 s, not for a minute. Before Ray is first imported."""
    os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "15")


def without_colours() -> None:
    """Let Ray print the logs of actors without control characters."""
    os.environ["RAY_COLOR_PREFIX"] = "0"


class LocalCluster:
    """Head and nodes on this machine. ``start`` and ``stop`` block; call them in the main thread."""

    def __init__(
        self,
        nodes: Sequence[LocalNode],
        object_store_mb: int,
        dashboard_port: int = 0,
        *,
        is_head_a_node: bool = False,
        head_ip: str = "",
        has_log_monitor: bool = False,
    ) -> None:
        """``is_head_a_node``: the head itself is the first of the nodes, which saves a raylet.

        ``head_ip``: where the head listens; without it on this machine's loopback. ``has_log_monitor``: drivers can
        have the logs of actors printed.
        """
        self._nodes = nodes
        self._is_head_a_node = is_head_a_node and bool(nodes)
        self._object_store_bytes = object_store_mb * _MB
        self._dashboard_port = dashboard_port
        self._head_ip = head_ip
        self._has_log_monitor = has_log_monitor
        self._dir = ""
        self._cluster: Any = None
        self.raylets: list[Any] = []
        """Ray's own objects for the nodes started so far, in order; tests kill them."""

    def start(self) -> str:
        """Start everything and return the address.

        Raises SchedError PORT_IN_USE for a taken dashboard port, INVALID_CONFIGURATION for a temporary directory whose
        path is too long for Ray's sockets.
        """
        if self._dashboard_port:
            self._dashboard_port = free_dashboard_port(self._dashboard_port)
        _check_temporary_directory(len(self._nodes), has_dashboard=bool(self._dashboard_port))
        self._dir = tempfile.mkdtemp(prefix=_DIR_PREFIX)
        os.environ["RAY_TMPDIR"] = self._dir
        Path(self._dir, "ray").mkdir()
        from ray.cluster_utils import Cluster  # noqa: PLC0415  # Ray reads its environment when it is imported

        head: dict[str, Any] = {"num_cpus": 0, "object_store_memory": self._object_store_bytes}
        # no_monitor: that process asks for machines, and there are none to be had
        head |= {"include_dashboard": bool(self._dashboard_port), "no_monitor": True}
        head["include_log_monitor"] = self._has_log_monitor
        if self._dashboard_port:
            head["dashboard_port"] = self._dashboard_port
        if self._head_ip:
            head["node_ip_address"] = self._head_ip
        if self._is_head_a_node:
            head |= {"num_cpus": self._nodes[0].num_cpus, "labels": _labels(self._nodes[0])}
            head |= _gpus(self._nodes[0])
        with keeping_signal_handler():
            self._cluster = Cluster()
            with _starting(), _without_dashboard(is_it=not self._dashboard_port):
                self._cluster.add_node(**head)
            for node in self._nodes[self._is_head_a_node :]:
                self.add_node(node)
        return str(self._cluster.address)

    def add_node(self, node: LocalNode, ip: str = "") -> Any:
        """One more raylet, reachable at ``ip``, or at the head's own address."""
        where = {"node_ip_address": ip or self._head_ip} if ip or self._head_ip else {}
        with _starting():
            raylet = self._cluster.add_node(
                num_cpus=node.num_cpus,
                labels=_labels(node),
                object_store_memory=self._object_store_bytes,
                **_gpus(node),
                **where,
            )
        self.raylets.append(raylet)
        return raylet

    def remove_node(self, raylet: Any, *, is_graceful: bool) -> None:
        """End one raylet; without grace it is killed."""
        self._cluster.remove_node(raylet, allow_graceful=is_graceful)

    def kill_gcs(self) -> None:
        """End the head's GCS with SIGKILL. It can be started again if RAY_REDIS_ADDRESS was set when it was started."""
        self._cluster.head_node.kill_gcs_server()

    def start_gcs(self) -> None:
        """Start the killed GCS again, at its address and with its tables."""
        with _starting():
            self._cluster.head_node.start_gcs_server()

    def stop(self) -> None:
        """End every process and remove the directory. May be called again."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None
        if self._dir:
            shutil.rmtree(self._dir, ignore_errors=True)
            os.environ.pop("RAY_TMPDIR", None)
            self._dir = ""


@contextmanager
def _starting() -> Iterator[None]:
    """What Ray's own start of a node does differently here.

    Its processes have sessions of their own: signals to our process group are for us, who drain first and end Ray
    last; the kernel ends Ray if we die. And a node is looked for 50 times a second, which Ray does once: four raylets
    start in 4.6 s instead of 6.6, the medians of three starts of each in turn.
    """
    from ray._private import services  # noqa: PLC0415  # Ray reads its environment when it is imported

    popen, get_node = services.ConsolePopen, services.get_node

    def get_node_soon(gcs_address: str, node_id: str) -> Any:
        _wait_for_node(gcs_address, node_id)
        return get_node(gcs_address, node_id)

    services.ConsolePopen, services.get_node = partial(popen, start_new_session=True), get_node_soon
    try:
        yield
    finally:
        services.ConsolePopen, services.get_node = popen, get_node


@contextmanager
def _without_dashboard(*, is_it: bool) -> Iterator[None]:
    """Start no dashboard process at all. Ray starts one that only reports usage, which is off, and waits for it.

    It takes 0.7 s of CPU and 100 MB.
    """
    from ray._private import services  # noqa: PLC0415  # Ray reads its environment when it is imported

    start_api_server = services.start_api_server
    if is_it:
        services.start_api_server = lambda *_args, **_options: ("", None)
    try:
        yield
    finally:
        services.start_api_server = start_api_server


def _wait_for_node(gcs_address: str, node_id: str) -> None:
    """Until the GCS knows this node, for a while: whether it will ever know it is for Ray to find out."""
    from ray._private.services import _get_gcs_client_options  # noqa: PLC0415  # imports Ray, as above
    from ray._private.state import GlobalState  # noqa: PLC0415

    state = GlobalState()
    state._initialize_global_state(_get_gcs_client_options(gcs_address))  # noqa: SLF001  # as Ray's own get_node does
    give_up_s = time.monotonic() + _LOOK_FOR_S
    while time.monotonic() < give_up_s:
        with suppress(RuntimeError):  # a GCS that is slow to answer
            if any(row["NodeID"] == node_id for row in state.node_table()):
                return
        time.sleep(_LOOK_EVERY_S)


def _gpus(node: LocalNode) -> dict[str, int]:
    return {} if node.num_gpus is None else {"num_gpus": node.num_gpus}


def _labels(node: LocalNode) -> dict[str, str]:
    return {f"{LABEL_PREFIX}{name}": value for name, value in node.labels.items()}


def _check_temporary_directory(n_nodes: int, *, has_dashboard: bool) -> None:
    """Refuse a place where the path of a socket of Ray's would be longer than Linux allows."""
    session = f"ray/session_2026-12-31_23-59-59_123456_{os.getpid()}"
    socket_name = "dash_TaskEventsHead" if has_dashboard else f"plasma_store.{n_nodes}"
    place = tempfile.gettempdir()
    longest = Path(place, f"{_DIR_PREFIX}12345678", session, "sockets", socket_name)
    n_over = len(os.fsencode(longest)) - _MAX_SOCKET_PATH_BYTES
    if n_over > 0:
        raise SchedError(
            Code.INVALID_CONFIGURATION,
            f"the temporary directory {place} is {n_over} bytes too long for Ray, which makes sockets below it; set"
            " TMPDIR to a shorter one, such as TMPDIR=/tmp",
        )


def free_dashboard_port(port: int) -> int:
    """The port, or the next free one if it is Ray's usual one. Raises SchedError PORT_IN_USE."""
    for candidate in range(port, port + _MAX_PORTS) if port == RAYS_DASHBOARD_PORT else (port,):
        if _is_free(candidate):
            return candidate
    raise SchedError(Code.PORT_IN_USE, f"port {port} is in use; choose another one for local.dashboard_port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
