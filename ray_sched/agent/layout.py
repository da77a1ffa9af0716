"""How a node's slots are laid out: where its engine runs, and how often it is loaded.

The engine's class says what fits it, the node's options ``isolation`` and ``replicas`` go before that.
"""

from typing import cast, get_args

from msgspec import Struct

from ray_sched.agent.engine import Engine, Isolation
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.fields import MAX_SLOTS


class Layout(Struct, frozen=True, kw_only=True):
    """Where an engine runs, and how many runs each of its replicas serves at the same time."""

    is_in_process: bool
    """Each replica is a process of its own; otherwise the one replica runs on threads of the agent's."""
    slots: tuple[int, ...]
    """Of each replica."""


def lay_out(engine: type[Engine], options: dict[str, str], n_slots: int) -> Layout:
    """The layout of ``n_slots`` slots; there are never more replicas than slots.

    Raises SchedError INVALID_CONFIGURATION for an option that is wrong, or asks of the engine what it cannot do.
    """
    isolation, n_replicas = _isolation(engine, options), _n_replicas(options)
    can_share = engine.isolation == "thread" or getattr(engine, "is_thread_safe", False)
    if isolation == "thread":
        if not can_share and n_slots > 1:
            raise _invalid(
                f"this engine cannot serve {n_slots} slots in one process: leave isolation out, or say slots=1"
            )
        return Layout(is_in_process=False, slots=(n_slots,))
    if isolation == "process" and can_share:
        return Layout(is_in_process=True, slots=_dealt(n_slots, min(n_replicas, n_slots)))
    if "replicas" in options:
        raise _invalid("this engine is loaded once per slot, so slots says how often: leave the option replicas out")
    return Layout(is_in_process=True, slots=(1,) * n_slots)


def _isolation(engine: type[Engine], options: dict[str, str]) -> Isolation:
    wanted, known = options.get("isolation", engine.isolation), get_args(Isolation)
    if wanted not in known:
        raise _invalid(f"isolation {wanted!r} of an engine is unknown; it is one of {', '.join(known)}")
    return cast("Isolation", wanted)


def _n_replicas(options: dict[str, str]) -> int:
    text = options.get("replicas", "1")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_SLOTS):
        raise _invalid(f"option replicas is {text!r}; it must be a whole number from 1 to {MAX_SLOTS}")
    return int(text)


def _dealt(n_slots: int, n_replicas: int) -> tuple[int, ...]:
    """The slots dealt out to the replicas, as evenly as it goes."""
    few, n_more = divmod(n_slots, n_replicas)
    return (few + 1,) * n_more + (few,) * (n_replicas - n_more)


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)
