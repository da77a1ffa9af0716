"""What the dashboards show: each panel's queries, and what a person should do when it looks bad. Data, nothing else.

``tests.observe.grafana`` builds Grafana's JSON of it, which ships in ``dashboards``.
"""

from typing import NamedTuple

from ray_sched.observe.queries import (
    gauge,
    mean_size,
    per_second,
    quantile,
    ratio,
    rays_own,
)


class Query(NamedTuple):
    """One line, or several, of a panel."""

    expr: str
    legend: str
    """With ``{{label}}`` in it."""


class Panel(NamedTuple):
    """One graph."""

    title: str
    unit: str
    """As Grafana names it."""
    advice: str
    """What to do when it looks bad, in a sentence."""
    queries: tuple[Query, ...]


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(NamedTuple):
    """One page."""

    uid: str
    title: str
    rows: tuple[Row, ...]
    has_pools: bool = False
    """A variable chooses among pools."""


def _quantiles(family: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, family), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99))


_ACQUIRED, _NOT_2XX = 'state="acquired"', 'code!~"2.."'
_SLOTS = f"sum by (pool) ({gauge('slots', 'pool, state')})"
_BUSY_PART = f"{gauge('slots', 'pool', more=_ACQUIRED)} / clamp_min({_SLOTS}, 1)"
_REFUSED_PART = f"{per_second('gateway_requests', more=_NOT_2XX)} / clamp_min({per_second('gateway_requests')}, 0.001)"

OVERVIEW = Dashboard(
    "raySchedOverview",
    "ray_sched: overview",
    (
        Row(
            "Now",
            (
                Panel(
                    "Jobs that have not ended",
                    "short",
                    "If pending grows alone, see why in ray-sched explain, and add nodes if all are full.",
                    (Query(gauge("jobs", "state", 'state=~"pending|assigned|processing"'), "{{state}}"),),
                ),
                Panel(
                    "Jobs per second",
                    "ops",
                    "If submitted stays above ended, submits will be refused: add nodes, or send less.",
                    (
                        Query(per_second("jobs_submitted"), "submitted"),
                        Query(per_second("jobs_ended", "state"), "{{state}}"),
                    ),
                ),
                Panel(
                    "Failures per second",
                    "ops",
                    "Look up the code with ray-sched jobs --status failed; POISON_JOB names audio that kills engines.",
                    (
                        Query(per_second("jobs_failed", "code"), "failed: {{code}}"),
                        Query(per_second("jobs_rejected", "code"), "rejected: {{code}}"),
                    ),
                ),
                Panel(
                    "Attempts tried again per second",
                    "ops",
                    "One code that lasts points at a node: see ray-sched nodes, and drain the one that it names.",
                    (
                        Query(per_second("failovers", "code"), "{{code}}"),
                        Query(per_second("pushes_refused"), "push refused"),
                    ),
                ),
            ),
        ),
        Row(
            "Times",
            (
                Panel(
                    "From submission to outcome",
                    "s",
                    "See below which part of it grows: waiting, pushing, running or delivery.",
                    _quantiles("job_total_seconds"),
                ),
                Panel(
                    "Waiting for a node",
                    "s",
                    "If it grows, slots are missing: add nodes, or look for drained and degraded ones.",
                    _quantiles("job_wait_seconds"),
                ),
                Panel(
                    "Pushing the audio",
                    "s",
                    "If it grows alone, the network or the client is slow, or its event loop is blocked.",
                    _quantiles("job_push_seconds"),
                ),
                Panel(
                    "Running",
                    "s",
                    "If it grows alone, the engine is slower than before: compare the real-time factor.",
                    _quantiles("job_run_seconds"),
                ),
                Panel(
                    "Waiting for earlier results of the session",
                    "s",
                    "If it grows, utterances of a session are missing or fail: look at gaps per second.",
                    _quantiles("job_delivery_seconds"),
                ),
                Panel(
                    "Gaps and late results per second",
                    "ops",
                    "Sessions miss something: find the failed jobs of their indices with ray-sched jobs --session.",
                    (Query(per_second("gaps"), "gaps"), Query(per_second("late_results"), "late results")),
                ),
            ),
        ),
        Row(
            "Audio",
            (
                Panel(
                    "Audio that has not ended",
                    "s",
                    "Pending audio divided by audio done per second is the time it takes: add nodes if that is long.",
                    (Query(gauge("audio_seconds", "state"), "{{state}}"),),
                ),
                Panel(
                    "Audio done per second",
                    "none",
                    "If it falls while audio is pending, nodes have left or engines are slower.",
                    (Query(per_second("audio_done_seconds", "engine"), "{{engine}}"),),
                ),
                Panel(
                    "Real-time factor",
                    "none",
                    "Above 1 an engine is slower than speech: give its nodes more CPU, fewer slots or a smaller model.",
                    (Query(ratio("run_done_seconds", "audio_done_seconds", "engine"), "{{engine}}"),),
                ),
            ),
        ),
        Row(
            "The scheduler itself",
            (
                Panel(
                    "Actors that answer",
                    "short",
                    "A line that ends is an actor that is gone: see its log in Ray's dashboard, then run ray-sched up.",
                    (Query(gauge("up", "actor"), "{{actor}}"), Query(gauge("draining"), "draining")),
                ),
                Panel(
                    "Delay of event loops",
                    "s",
                    "Above 0.1 s the actor has too much to do, or its machine has.",
                    (Query(gauge("event_loop_lag_seconds", "actor"), "{{actor}}"),),
                ),
                Panel(
                    "Redis answers",
                    "short",
                    "At 0 nothing new is accepted: start Redis, or free its machine's disk and memory.",
                    (
                        Query(gauge("store_up", "actor"), "{{actor}}"),
                        Query(per_second("store_refills", "actor"), "refilled by the {{actor}} per second"),
                    ),
                ),
                Panel(
                    "Commits to Redis",
                    "s",
                    "Above 10 ms Redis is far away, or its disk is slow: run ray-sched doctor.",
                    (
                        Query(quantile(0.5, "store_commit_seconds", "actor"), "p50 {{actor}}"),
                        Query(quantile(0.99, "store_commit_seconds", "actor"), "p99 {{actor}}"),
                    ),
                ),
                Panel(
                    "Messages in a call",
                    "short",
                    "They grow with the load by themselves; close to their limit a side does not keep up.",
                    (Query(mean_size("call_items", "edge"), "{{edge}}"),),
                ),
                Panel(
                    "Messages that came too late per second",
                    "ops",
                    "A few follow each failover; many without one mean that a node or its network stands still at times.",
                    (
                        Query(per_second("late_messages"), "late"),
                        Query(per_second("jobs_duplicate"), "known request ids"),
                    ),
                ),
            ),
        ),
    ),
)

NODES = Dashboard(
    "raySchedNodes",
    "ray_sched: nodes and pools",
    (
        Row(
            "Nodes",
            (
                Panel(
                    "Nodes by state",
                    "short",
                    "For each that is not ready, ray-sched nodes says what is wrong with it.",
                    (Query(gauge("nodes", "state"), "{{state}}"),),
                ),
                Panel(
                    "Silence of the most silent node",
                    "s",
                    "Above 1.5 s a node is suspect, above 3 s lost: look at its machine's load and at the network.",
                    (Query(gauge("heartbeat_age_seconds", "pool"), "{{pool}}"),),
                ),
                Panel(
                    "Load of the busiest node",
                    "percentunit",
                    "At a threshold (85 % by default) a node gets no new work: see what else runs there.",
                    (Query(gauge("node_load_ratio", "pool, resource"), "{{resource}} {{pool}}"),),
                ),
            ),
        ),
        Row(
            "Slots",
            (
                Panel(
                    "Slots by pool",
                    "short",
                    "If none is free and jobs wait, add nodes to the pool or slots to its nodes.",
                    (Query(gauge("slots", "pool, state"), "{{state}} {{pool}}"),),
                ),
                Panel(
                    "Busy part of the slots",
                    "percentunit",
                    "Above 0.8 for long, waiting begins to grow faster than the load: add nodes before it is 1.",
                    (Query(_BUSY_PART, "{{pool}}"),),
                ),
                Panel(
                    "Selections per second",
                    "ops",
                    "If it is 0 while jobs wait, no node may be used: see the reasons beside.",
                    (Query(per_second("jobs_assigned"), "found a node"),),
                ),
                Panel(
                    "Reasons against nodes per second",
                    "ops",
                    "Of jobs that found none in time: a language or service that is missing needs another engine.",
                    (Query(per_second("no_node", "reason"), "{{reason}}"),),
                ),
                Panel(
                    "Runs in a pass",
                    "short",
                    "Of engines that gather runs: 1 under load means that jobs differ too much to share.",
                    (Query(mean_size("pass_runs", "engine"), "{{engine}}"),),
                ),
            ),
        ),
    ),
    has_pools=True,
)

MEMORY = Dashboard(
    "raySchedMemory",
    "ray_sched: memory and clean-up",
    (
        Row(
            "Audio",
            (
                Panel(
                    "Ledger: audio by state",
                    "bytes",
                    "Held grows with what waits; if stored or running stays up without jobs, report it as a leak.",
                    (Query(gauge("ledger_bytes", "state"), "{{state}}"),),
                ),
                Panel(
                    "The object store beside it",
                    "bytes",
                    "More than the ledger's stored bytes, for minutes, is held by something else in the cluster.",
                    (
                        Query(gauge("ledger_bytes", "state", 'state="stored"'), "ledger: stored"),
                        Query(rays_own("ray_object_store_memory", 'Location="MMAP_SHM"'), "Ray: shared memory"),
                    ),
                ),
            ),
        ),
        Row(
            "Records",
            (
                Panel(
                    "Finished jobs that are kept",
                    "short",
                    "It has to level off at cleanup.keep_ms of throughput; if it only grows, clean-up does not run.",
                    (Query(gauge("jobs", "state", 'state!~"pending|assigned|processing"'), "{{state}}"),),
                ),
                Panel(
                    "Forgotten by clean-up per second",
                    "ops",
                    "Over minutes it is as much as ended; if it is 0, look for the timer actor in Ray's dashboard.",
                    (Query(per_second("cleaned_jobs"), "jobs"),),
                ),
                Panel(
                    "Bytes freed by clean-up per second",
                    "Bps",
                    "It follows the jobs beside it; records that grow hold long texts.",
                    (Query(per_second("cleaned_bytes"), "bytes of records"),),
                ),
                Panel(
                    "Clients, sessions and their mail",
                    "short",
                    "Mail that only grows belongs to a client that polls no more: find its process.",
                    (
                        Query(gauge("clients"), "clients"),
                        Query(gauge("sessions"), "sessions"),
                        Query(gauge("mail_events"), "events not taken"),
                    ),
                ),
            ),
        ),
    ),
)

GATEWAY = Dashboard(
    "raySchedGateway",
    "ray_sched: gateway",
    (
        Row(
            "The front door",
            (
                Panel(
                    "In hand",
                    "short",
                    "At gateway.max_requests more are refused: start a second gateway behind the balancer.",
                    (Query(gauge("gateway_open", "kind"), "{{kind}}"),),
                ),
                Panel(
                    "Requests per second",
                    "ops",
                    "4xx are the callers', 401 a token; 429 and 503 say that the scheduler is full or away.",
                    (Query(per_second("gateway_requests", "code"), "{{code}}"),),
                ),
                Panel(
                    "From request to answer",
                    "s",
                    "Compare with the times of jobs: what is above them is upload and decoding.",
                    _quantiles("gateway_request_seconds"),
                ),
                Panel(
                    "Refused in part",
                    "percentunit",
                    "Above 0.01 callers notice: see the codes beside.",
                    (Query(_REFUSED_PART, "not answered"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, NODES, MEMORY, GATEWAY)
