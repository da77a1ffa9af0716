"""The Dispatcher's samples. Reading them looks at pools and clients, never at jobs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from ray_sched.core.dispatch.counters import Counters
from ray_sched.core.distribution import Distribution
from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.reasons import Reason, Tier
from ray_sched.observe.samples import Sample, by_label

if TYPE_CHECKING:  # the Dispatcher's class imports this, and who calls the Dispatcher imports its class
    from ray_sched.core.dispatch.brain import DispatchBrain

StrT = TypeVar("StrT", bound=str)

_OPEN = (JobStatus.PENDING, JobStatus.ASSIGNED, JobStatus.PROCESSING)
_ENDED = tuple(status for status in JobStatus if status not in _OPEN)
_ALWAYS_SHOWN = (Code.NO_AVAILABLE_NODE, Code.POISON_JOB, Code.NODE_LOST, Code.OVERLOADED)
"""Codes whose series are there before they were given once: a rate knows no first step of what was not there."""


def dispatcher_samples(brain: "DispatchBrain", *, ledger: Mapping[str, int], n_mail: int) -> Iterator[Sample]:
    """All that the Dispatcher's brain can tell. ``ledger``: bytes of audio by state; ``n_mail``: events not taken."""
    census = brain.census
    yield from by_label("jobs", {status: census.jobs[status] for status in JobStatus})
    yield from by_label("audio_seconds", {status: census.audio_ms[status] / 1000 for status in _OPEN})
    yield from _counted(brain.counters)
    yield from _times(brain.counters)
    yield from _slots(brain)
    yield Sample("clients", (), brain.sizes()["clients"])
    yield Sample("sessions", (), len(brain.sessions))
    yield Sample("mail_events", (), n_mail)
    yield from (Sample("ledger_bytes", ("dispatcher", state), n_bytes) for state, n_bytes in ledger.items())
    yield Sample("draining", (), brain.is_draining)


def _counted(counters: Counters) -> Iterator[Sample]:
    yield Sample("jobs_submitted", (), counters.submitted)
    yield Sample("jobs_duplicate", (), counters.duplicates)
    yield from by_label("jobs_rejected", _with_zeros(counters.rejected, _ALWAYS_SHOWN))
    yield Sample("jobs_assigned", (), counters.assigned)
    yield from by_label("no_node", _with_zeros(counters.no_node, (*Reason, Tier.NO_NODE)))
    yield from by_label("jobs_ended", _with_zeros(counters.ended, _ENDED))
    yield from by_label("jobs_failed", _with_zeros(counters.failed, _ALWAYS_SHOWN))
    yield from by_label("failovers", _with_zeros(counters.failovers, _ALWAYS_SHOWN))
    yield Sample("pushes_refused", (), counters.refused)
    yield Sample("late_messages", (), counters.late_messages)
    yield Sample("gaps", (), counters.gaps)
    yield Sample("late_results", (), counters.late_results)
    yield Sample("cleaned_jobs", (), counters.cleaned)
    yield Sample("cleaned_bytes", (), counters.cleaned_bytes)
    yield from by_label("audio_done_seconds", {engine: ms / 1000 for engine, ms in counters.audio_ms.items()})
    yield from by_label("run_done_seconds", {engine: ms / 1000 for engine, ms in counters.run_ms.items()})


def _with_zeros(counts: Mapping[StrT, int], always: Iterable[StrT]) -> dict[str, float]:
    return {str(name): counts.get(name, 0) for name in dict.fromkeys(chain(always, counts))}


def _times(counters: Counters) -> Iterator[Sample]:
    times = counters.times
    yield Sample("job_wait_seconds", (), times.wait)
    yield Sample("job_push_seconds", (), times.push)
    yield Sample("job_run_seconds", (), times.run)
    yield Sample("job_delivery_seconds", (), times.delivery)
    yield Sample("job_total_seconds", (), times.total)


def _slots(brain: "DispatchBrain") -> Iterator[Sample]:
    """By pool and whether a job is on the slot."""
    slots: Counter[tuple[str, str]] = Counter()
    for node_state in brain.node_states.values():
        slots[node_state.pool, "free"] += node_state.n_free
        slots[node_state.pool, "acquired"] += node_state.n_acquired
    return (Sample("slots", pool_and_state, n_slots) for pool_and_state, n_slots in slots.items())


def call_samples(sizes: Mapping[str, Distribution]) -> Iterator[Sample]:
    """How many messages travelled together. ``sizes``: by edge."""
    return (Sample("call_items", (edge,), seen) for edge, seen in sizes.items())
