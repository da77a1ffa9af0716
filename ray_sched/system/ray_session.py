"""The process's connection to a Ray cluster, and the sentence for each way in which it can fail."""

import logging
import os
import re
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray_sched.core.errors import Code, SchedError, printable
from ray_sched.settings import ray_variable

_MAX_WORDS = 400
_PROBE_S = 8.0
"""Ray itself tries for minutes to reach an address where nobody is, or somebody else, and handles no signal."""


_UNLISTED_NAMESPACE = "_ray_internal_ray_sched"
"""Of drivers that Ray's dashboard leaves out of its list of jobs, as it does its own."""


def connect_ray(address: str, namespace: str, *, log_to_driver: bool = False, is_listed: bool = True) -> None:
    """Join the cluster at this address as a driver; without ``is_listed`` as one that is in no list of jobs.

    Raises SchedError: NO_CLUSTER if nobody answers there, UNAUTHENTICATED if the token is wrong or missing,
    INVALID_CONFIGURATION for an address of another kind and for a cluster of other versions than this process's.
    """
    if re.match("https?://", address):
        raise _dashboard(address)
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported
    import ray.exceptions  # noqa: PLC0415

    if ray.is_initialized():
        return
    try:
        _probe(address)
        with keeping_signal_handler(), _printable_command_line():
            ray.init(
                address=address,
                namespace=namespace if is_listed else _UNLISTED_NAMESPACE,
                log_to_driver=log_to_driver,
                logging_level=logging.WARNING,
                configure_logging=True,
            )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        raise _refusal(address, error) from error


def dashboard_url() -> str:
    """Where the dashboard of the cluster is that this process has joined; empty: it has none."""
    import ray._private.worker  # noqa: PLC0415  # Ray reads its environment when it is imported

    url = ray._private.worker.get_dashboard_url()  # noqa: SLF001  # Ray's own words when it starts
    return f"http://{url}" if url else ""


def grafana_folder() -> Path:
    """Where Grafana looks for the dashboards of the Ray that was started on this machine."""
    import ray._private.worker  # noqa: PLC0415  # as above

    named = ray_variable("RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR")
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())  # noqa: SLF001
    return Path(named) if named else session / "metrics" / "grafana" / "dashboards"


def use_token(token: str) -> None:
    """Let this process show a token to Ray, also when it has imported Ray, which reads its environment only then."""
    os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", token
    if "ray" in sys.modules:
        import ray._raylet  # noqa: PLC0415

        raylet: Any = ray._raylet  # noqa: SLF001  # Ray's own way to read them again
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def disconnect_ray() -> None:
    """Leave the cluster."""
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported

    ray.shutdown()


@contextmanager
def keeping_signal_handler() -> Iterator[None]:
    """Keep Ray from replacing a handler of SIGTERM that is there already: a program that has one means it.

    Ray replaces it twice: with ``sys.exit`` in Python, and in C with one that aborts, which only setting
    the first one again takes away.
    """
    import ray._private.utils  # noqa: PLC0415  # Ray reads its environment when it is imported

    handler = signal.getsignal(signal.SIGTERM)
    is_handled = handler is not signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if not is_handled:
        yield
        return
    rays_own = ray._private.utils.set_sigterm_handler  # noqa: SLF001  # Ray has no option for it
    ray._private.utils.set_sigterm_handler = lambda _handler: None  # noqa: SLF001
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = rays_own  # noqa: SLF001
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _printable_command_line() -> Iterator[None]:
    """Let Ray record this process's command line as text, also where it names files whose names are none.

    It is what names the process in Ray's list of jobs, so a command of ours is called as people call it.
    """
    import ray._private.utils  # noqa: PLC0415  # Ray reads its environment when it is imported

    utils: Any = ray._private.utils  # noqa: SLF001  # Ray has no option for it
    rays_own = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: printable(_own_name() or rays_own())
    try:
        yield
    finally:
        utils.get_entrypoint_name = rays_own


def _own_name() -> str:
    """``ray-sched VERB ...``; empty for a program of somebody else."""
    program = Path(sys.argv[0])
    is_own = program.name == "ray-sched" or program.match("ray_sched/__main__.py")
    return shlex.join(["ray-sched", *sys.argv[1:]]) if is_own else ""


def _probe(address: str) -> None:
    """Raise NO_CLUSTER or UNAUTHENTICATED unless a Ray at ``host:port`` answers; other forms are left to Ray."""
    import grpc  # type: ignore[import-untyped]  # noqa: PLC0415  # comes with Ray
    from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415
    from ray.core.generated.gcs_service_pb2 import GetInternalConfigRequest  # noqa: PLC0415
    from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub  # noqa: PLC0415

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_S).close()
    except (OSError, OverflowError):
        raise _no_cluster(address) from None
    channel = init_grpc_channel(address)
    try:
        ray_itself = InternalKVGcsServiceStub(channel)
        ray_itself.GetInternalConfig(GetInternalConfigRequest(), timeout=_PROBE_S, wait_for_ready=True)
    except grpc.RpcError as error:
        is_refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
        raise (_unauthenticated if is_refused else _no_cluster)(address, error.details()) from None
    finally:
        channel.close()


def _refusal(address: str, error: Exception) -> SchedError:
    """The true cause of what Ray has raised, with Ray's own words."""
    import ray.exceptions  # noqa: PLC0415  # Ray reads its environment when it is imported

    words = str(error)
    if isinstance(error, ray.exceptions.AuthenticationError) or "Unauthenticated" in words or "AuthToken" in words:
        return _unauthenticated(address, words)
    if "Version mismatch" in words:
        return _other_versions(address, words)
    if "No node info found" in words:
        return SchedError(
            Code.NO_CLUSTER,
            f"this machine has no node of the cluster at {address}; run ray start --address {address} here, or use"
            f" ray job submit{_rays(words)}",
        )
    return _no_cluster(address, words)


def _no_cluster(address: str, words: str = "") -> SchedError:
    return SchedError(
        Code.NO_CLUSTER,
        f"there is no Ray cluster at {address}; start one (ray start --head) or correct the address{_rays(words)}",
    )


def _unauthenticated(address: str, words: str) -> SchedError:
    return SchedError(
        Code.UNAUTHENTICATED,
        f"the cluster at {address} refused the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"
        " RAY_AUTH_TOKEN_PATH to the cluster's own, or name the --data-dir of the ray-sched up that started it"
        f"{_rays(words)}",
    )


def _other_versions(address: str, words: str) -> SchedError:
    """``words`` name both sides, the cluster's first, each on lines of their own."""
    theirs, ours = (" and ".join(f"{name} {number}" for name, number in side) for side in _sides(words))
    return SchedError(
        Code.INVALID_CONFIGURATION,
        f"the cluster at {address} runs on {theirs}, this process on {ours}; use the cluster's versions here"
        f"{_rays(words)}",
    )


def _sides(words: str) -> list[list[tuple[str, str]]]:
    found = re.findall(r"(Ray|Python): (\S+)", words)
    return [found[:2], found[2:]]


def _dashboard(address: str) -> SchedError:
    return SchedError(
        Code.INVALID_CONFIGURATION,
        f"{address} is the address of a dashboard, for ray job submit; name the cluster's head as HOST:6379 in"
        " --address or RAY_ADDRESS, or unset RAY_ADDRESS to find the ray-sched up of this machine",
    )


def _rays(words: str) -> str:
    """Ray's own words behind a sentence, on the same line."""
    return f" (Ray says: {' '.join(words.split())[:_MAX_WORDS]})" if words else ""
