"""The process's connection to a Ray cluster, and the sentence for each way in which it can fail."""

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray_sched.core.errors import Code, SchedError

_PROBE_S = 8.0
"""Ray itself tries for minutes to reach an address where nobody is, or somebody else, and handles no signal."""


def connect_ray(address: str, namespace: str, *, log_to_driver: bool = False) -> None:
    """Join the cluster at this address as a driver.

    Raises SchedError: NO_CLUSTER if nobody answers there, UNAUTHENTICATED if the token is wrong or missing.
    """
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported
    import ray.exceptions  # noqa: PLC0415

    if ray.is_initialized():
        return
    try:
        _probe(address)
        with keeping_signal_handler():
            ray.init(
                address=address,
                namespace=namespace,
                log_to_driver=log_to_driver,
                logging_level=logging.WARNING,
                configure_logging=True,
            )
    except ray.exceptions.AuthenticationError as error:
        raise _unauthenticated(address) from error
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        if "Unauthenticated" in str(error) or "AuthToken" in str(error):
            raise _unauthenticated(address) from error
        if "No node info found" in str(error):
            raise SchedError(
                Code.NO_CLUSTER,
                f"this machine has no node of the cluster at {address}; run ray start --address {address} here, or use"
                " ray job submit",
            ) from error
        raise _no_cluster(address) from error


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
        raise (_unauthenticated if is_refused else _no_cluster)(address) from None
    finally:
        channel.close()


def _no_cluster(address: str) -> SchedError:
    return SchedError(
        Code.NO_CLUSTER, f"there is no Ray cluster at {address}; start one (ray start --head) or correct the address"
    )


def _unauthenticated(address: str) -> SchedError:
    return SchedError(
        Code.UNAUTHENTICATED,
        f"the cluster at {address} refused the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"
        " RAY_AUTH_TOKEN_PATH to the cluster's own",
    )
