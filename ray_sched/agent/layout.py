"""How a node's slots are laid out: where its engine runs, and how often it is loaded.

The engine's class says what fits it, the node's options ``isolation``, ``replicas``,
``threads``, ``max-batch``, ``max-batch-audio-s``, ``max-batch-wait-ms``, ``stuck-after-s``, ``idle-unload-s`` and
``load-timeout-s`` go before that.
"""

from typing import cast, get_args

from msgspec import Struct

from ray_sched.agent.engine import Engine, Isolation
from ray_sched.agent.rest import RestLimits
from ray_sched.core.agent.batches import BatchLimits
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.fields import MAX_SLOTS

_MAX_AUDIO_S = 86_400
_MAX_WAIT_MS = 60_000
_STUCK_AFTER_S = 60
_MAX_STUCK_AFTER_S = 86_400
_MAX_LOAD_S = 86_400
_MAX_IDLE_S = 30 * 86_400


class Layout(Struct, frozen=True, kw_only=True):
    """Where an engine runs, and how many runs each of its replicas serves at the same time."""

    is_in_process: bool
    """Each replica is a process of its own; otherwise the one replica runs on threads of the agent's."""
    slots: tuple[int, ...]
    """Of each replica."""
    threads: int = 0
    """Of each replica's libraries; 0: its share of the cores."""
    stuck_after_s: int = _STUCK_AFTER_S
    """How long a run may go on after it was cancelled, before its replica counts as stuck."""
    rest: RestLimits = RestLimits()
    is_batched: bool = False
    """The engine runs batches, of no more than this:"""
    limits: BatchLimits = BatchLimits()


def lay_out(engine: type[Engine], options: dict[str, str], n_slots: int, n_gpus: int = 0) -> Layout:
    """The layout of ``n_slots`` slots: one replica, or one per GPU; there are never more than slots.

    Raises SchedError INVALID_CONFIGURATION for an option that is wrong, or asks of the engine what it cannot do.
    """
    limits = _limits(engine, options, n_gpus)
    isolation, threads = _isolation(engine, options), _number(options, "threads", 0)
    stuck_after_s = _number(options, "stuck-after-s", _STUCK_AFTER_S, 1, _MAX_STUCK_AFTER_S)
    rest = _rest(options)
    n_replicas = _number(options, "replicas", max(1, n_gpus))
    has_threads = engine.isolation == "thread" or getattr(engine, "is_thread_safe", False)
    batches = limits is not None and not (has_threads and limits.max_batch == 1)
    if isolation == "thread":
        if not has_threads and n_slots > 1:
            raise _invalid(
                f"this engine cannot serve {n_slots} slots in one process: leave isolation out, or say slots=1"
            )
        if rest.idle_unload_s:
            raise _invalid("idle-unload-s ends the engine's process, and this engine has none: leave it out")
        return Layout(is_in_process=False, slots=(n_slots,), stuck_after_s=stuck_after_s)
    if isolation == "process" and (has_threads or batches):
        slots = _dealt(n_slots, min(n_replicas, n_slots))
        return Layout(
            is_in_process=True,
            slots=slots,
            threads=threads,
            stuck_after_s=stuck_after_s,
            rest=rest,
            is_batched=batches,
            limits=limits if limits and batches else BatchLimits(),
        )
    if "replicas" in options:
        raise _invalid("this engine is loaded once per slot, so slots says how often: leave the option replicas out")
    return Layout(is_in_process=True, slots=(1,) * n_slots, threads=threads, rest=rest)


def _isolation(engine: type[Engine], options: dict[str, str]) -> Isolation:
    wanted, known = options.get("isolation", engine.isolation), get_args(Isolation)
    if wanted not in known:
        raise _invalid(f"isolation {wanted!r} of an engine is unknown; it is one of {', '.join(known)}")
    return cast("Isolation", wanted)


def _rest(options: dict[str, str]) -> RestLimits:
    idle_unload_s = _number(options, "idle-unload-s", 0, 0, _MAX_IDLE_S)
    load_timeout_s = _number(options, "load-timeout-s", RestLimits().load_timeout_s, 1, _MAX_LOAD_S)
    return RestLimits(idle_unload_s=idle_unload_s, load_timeout_s=load_timeout_s)


def _limits(engine: type[Engine], options: dict[str, str], n_gpus: int) -> BatchLimits | None:
    """By default a pass takes whatever its replica's slots hold, and waits for nothing; None: there are no batches."""
    if not hasattr(engine, "run_batch"):
        return None
    if not hasattr(engine, "batch_key"):
        raise _invalid("this engine has run_batch but no batch_key, which says what may share a batch")
    audio_s = _number(options, "max-batch-audio-s", getattr(engine, "max_batch_audio_s", 0), 0, _MAX_AUDIO_S)
    wait_ms = _number(options, "max-batch-wait-ms", getattr(engine, "max_batch_wait_ms", 0), 0, _MAX_WAIT_MS)
    usual = getattr(engine, "max_batch", MAX_SLOTS)
    max_batch = _number(options, "max-batch", usual if n_gpus else getattr(engine, "max_batch_without_gpu", usual))
    return BatchLimits(max_batch=max_batch, max_batch_audio_ms=audio_s * 1000, max_batch_wait_ms=wait_ms)


def _number(options: dict[str, str], name: str, default: int, least: int = 1, most: int = MAX_SLOTS) -> int:
    text = options.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise _invalid(f"option {name} is {text!r}; it must be a whole number from {least} to {most}")
    return int(text)


def _dealt(n_slots: int, n_replicas: int) -> tuple[int, ...]:
    """The slots dealt out to the replicas, as evenly as it goes."""
    few, n_more = divmod(n_slots, n_replicas)
    return (few + 1,) * n_more + (few,) * (n_replicas - n_more)


def _invalid(sentence: str) -> SchedError:
    return SchedError(Code.INVALID_CONFIGURATION, sentence)
