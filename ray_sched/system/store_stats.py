"""What Ray itself reports of its object store: the proof of the ledger."""

from typing import Any

from msgspec import Struct


class StoreStats(Struct, frozen=True, kw_only=True):
    """The object stores of all nodes together."""

    bytes_used: int
    n_objects: int


class StoreHistory(Struct, frozen=True, kw_only=True):
    """All that went into the object stores since the cluster began; a copy in another node's store counts again."""

    created_bytes: int
    created_objects: int


def object_store_stats() -> StoreStats:
    """Ask one raylet, which asks all others. Costs a few milliseconds."""
    stats = _ask()
    return StoreStats(bytes_used=stats.object_store_bytes_used, n_objects=stats.num_local_objects)


def object_store_history() -> StoreHistory:
    """As ``object_store_stats``."""
    stats = _ask()
    return StoreHistory(created_bytes=stats.cumulative_created_bytes, created_objects=stats.cumulative_created_objects)


def _ask() -> Any:
    import ray  # noqa: PLC0415  # Ray reads its environment when it is imported
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address  # noqa: PLC0415

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return get_memory_info_reply(state).store_stats
