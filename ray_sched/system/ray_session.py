"""The process's connection to a Ray cluster, and the sentence for each way in which it can fail."""

import logging

from ray_sched.core.errors import Code, SchedError


def connect_ray(address: str, namespace: str, *, log_to_driver: bool = False) -> None:
    """Join the cluster at this address as a driver.

    Raises SchedError: NO_CLUSTER if nobody answers there, UNAUTHENTICATED if the token is wrong or missing.
    """
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported
    import ray.exceptions  # noqa: PLC0415

    if ray.is_initialized():
        return
    try:
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
        raise SchedError(
            Code.NO_CLUSTER,
            f"there is no Ray cluster at {address}; start one (ray start --head) or correct the address",
        ) from error


def disconnect_ray() -> None:
    """Leave the cluster."""
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported

    ray.shutdown()


def _unauthenticated(address: str) -> SchedError:
    return SchedError(
        Code.UNAUTHENTICATED,
        f"the cluster at {address} refused the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"
        " RAY_AUTH_TOKEN_PATH to the cluster's own",
    )
