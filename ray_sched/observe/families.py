"""The table of metrics: every family with its kind, unit, help and labels. Nothing is exported that is not here.

Units are Prometheus's base units: seconds, bytes, ratios. Values of labels are bounded by what the cluster is made of:
statuses, reasons, codes, engines, pools; never a job, a session, a client or a tenant.
"""

from enum import StrEnum, auto
from typing import NamedTuple

from ray_sched.core.distribution import DURATION_BOUNDARIES_MS, SIZE_BOUNDARIES

PREFIX = "sched_"
RAYS_PREFIX = "ray_"
"""What Ray puts before the name of every metric."""
MAX_FAMILIES = 50
DURATION_BOUNDARIES_S = tuple(ms / 1000 for ms in DURATION_BOUNDARIES_MS)


class Kind(StrEnum):
    """What a family's values do."""

    GAUGE = auto()
    COUNTER = auto()
    HISTOGRAM = auto()


class Owner(StrEnum):
    """Who writes a family."""

    DISPATCHER = auto()
    REGISTRY = auto()
    BOTH = auto()
    """Dispatcher and Registry, each with its name as the label ``actor``."""
    AGENT = auto()
    GATEWAY = auto()


class Family(NamedTuple):
    """One metric with all its series."""

    name: str
    kind: Kind
    owner: Owner
    help: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    """Of a histogram's buckets, in its unit."""

    @property
    def registered(self) -> str:
        """Its name with Ray, which adds ``ray_``, and ``_total`` to a counter."""
        return f"{PREFIX}{self.name}"

    @property
    def exported(self) -> str:
        """The name that Prometheus sees; a histogram's series have ``_bucket``, ``_sum`` and ``_count`` behind it."""
        return f"{RAYS_PREFIX}{PREFIX}{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"


def _gauge(name: str, owner: Owner, text: str, *labels: str) -> Family:
    return Family(name, Kind.GAUGE, owner, text, labels)


def _counter(name: str, owner: Owner, text: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, owner, text, labels)


def _seconds(name: str, owner: Owner, text: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, owner, text, labels, DURATION_BOUNDARIES_S)


def _sizes(name: str, owner: Owner, text: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, owner, text, labels, SIZE_BOUNDARIES)


_D, _R, _BOTH, _A, _G = Owner.DISPATCHER, Owner.REGISTRY, Owner.BOTH, Owner.AGENT, Owner.GATEWAY

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        # jobs
        _gauge("jobs", _D, "Jobs known by state; finished ones until clean-up.", "state"),
        _gauge("audio_seconds", _D, "Audio of the jobs that wait, are pushed or run, by state.", "state"),
        _counter("jobs_submitted", _D, "Jobs accepted from clients."),
        _counter("jobs_duplicate", _D, "Submits that were answered with a job that was known already."),
        _counter("jobs_rejected", _D, "Submits refused, by code.", "code"),
        _counter("jobs_assigned", _D, "Selections that found a node."),
        _counter("no_node", _D, "Jobs that found no node in time, each once, by the nearest reason.", "reason"),
        _counter("jobs_ended", _D, "Jobs ended, by state.", "state"),
        _counter("jobs_failed", _D, "Jobs ended without a result, by code; POISON_JOB: agents die of it.", "code"),
        _counter("failovers", _D, "Attempts that ended and were followed by another, by code.", "code"),
        _counter("pushes_refused", _D, "Pushes that an agent has refused."),
        _counter("late_messages", _D, "Reports of fenced attempts and second results, which changed nothing."),
        _counter("gaps", _D, "Gaps that were announced to sessions."),
        _counter("late_results", _D, "Results delivered after their gap was announced."),
        # times
        _seconds("job_wait_seconds", _D, "From submission until the first attempt had a node."),
        _seconds("job_push_seconds", _D, "From then until the node had accepted the audio, for each attempt."),
        _seconds("job_run_seconds", _D, "In the engine, of runs that ended well."),
        _seconds("job_delivery_seconds", _D, "From the end until the outcome was due in the order of its session."),
        _seconds("job_total_seconds", _D, "From submission until then."),
        _counter("audio_done_seconds", _D, "Audio of runs that ended well, by engine.", "engine"),
        _counter("run_done_seconds", _D, "Duration of these runs; divided by their audio: the real-time factor.",
                 "engine"),
        _sizes("pass_runs", _A, "Runs that shared a pass of a model, of engines that gather them.", "engine"),
        # slots and nodes
        _gauge("slots", _D, "Leased slots of each pool: free, or with a job on them.", "pool", "state"),
        _gauge("nodes", _R, "Nodes by status.", "state"),
        _gauge("heartbeat_age_seconds", _R, "Since the last heartbeat of the pool's most silent node.", "pool"),
        _gauge("node_load_ratio", _R, "Load of the pool's busiest node, 1 is all of it.", "pool", "resource"),
        # clients
        _gauge("clients", _D, "Clients that are there."),
        _gauge("sessions", _D, "Sessions that are known."),
        _gauge("mail_events", _D, "Events that clients have not acknowledged."),
        # memory and clean-up
        _gauge("ledger_bytes", _BOTH, "Audio by state: held by clients, stored on its way, running, spoken.",
               "actor", "state"),
        _counter("cleaned_jobs", _D, "Finished jobs forgotten by clean-up."),
        _counter("cleaned_bytes", _D, "Bytes of their records."),
        # the machinery
        _gauge("up", _BOTH, "1 while the actor answers its ticks.", "actor"),
        _gauge("draining", _D, "1 while no new jobs are taken."),
        _gauge("store_up", _BOTH, "1 while Redis answers the actor, 0 while what it decides cannot be saved.", "actor"),
        _seconds("store_commit_seconds", _BOTH, "A commit to Redis, until it was answered.", "actor"),
        _counter("store_refills", _BOTH, "How often Redis had lost what was saved, and was filled again.", "actor"),
        _sizes("call_items", _D, "Messages that travelled together, by edge.", "edge"),
        _gauge("event_loop_lag_seconds", _BOTH, "The longest delay of the actor's event loop since the last tick.",
               "actor"),
        # the front door
        _gauge("gateway_requests_open", _G, "Requests that are being answered."),
        _gauge("gateway_sessions_open", _G, "Sessions that are open."),
        _gauge("gateway_held_bytes", _G, "Bytes of the bodies of requests that are being answered."),
        _counter("gateway_requests", _G, "Requests that were answered.", "method", "route", "status"),
        _counter("gateway_audio_seconds", _G, "Audio that was brought, as far as its length was known."),
        _seconds("gateway_request_seconds", _G, "From a request's head to the end of its answer.", "route"),
    )
}  # fmt: skip
"""By name, in the order in which they are shown."""
