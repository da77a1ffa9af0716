"""Whether a scheduler was ended on purpose: noted in Ray's own key-value table, which whoever ends it can reach.

Its actors are gone either way, and ``up``, which looks after them, has to tell the one from the other.
"""

_TABLE = "ray_sched ended on purpose"


def note_end(namespace: str) -> None:
    """Somebody ends the scheduler of this namespace now."""
    from ray.experimental import internal_kv  # noqa: PLC0415  # imports Ray, which reads its environment then

    internal_kv._internal_kv_put(namespace, "1", namespace=_TABLE)  # noqa: SLF001  # Ray has no public name for it


def forget_end(namespace: str) -> None:
    """A scheduler starts in this namespace."""
    from ray.experimental import internal_kv  # noqa: PLC0415  # as above

    internal_kv._internal_kv_del(namespace, namespace=_TABLE)  # noqa: SLF001  # as above


def was_ended(namespace: str) -> bool:
    """Whether somebody has ended the last scheduler of this namespace."""
    from ray.experimental import internal_kv  # noqa: PLC0415  # as above

    return bool(internal_kv._internal_kv_exists(namespace, namespace=_TABLE))  # noqa: SLF001  # as above
