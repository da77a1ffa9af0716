"""The dashboards, in the order in which they are shown."""

from ray_sched.observe.overview import OVERVIEW
from ray_sched.observe.panels import Dashboard, Panel, Query, Row, quantiles
from ray_sched.observe.queries import gauge, mean_size, per_second, rays_own

_ACQUIRED, _NOT_2XX = 'state="acquired"', 'status!~"2.."'
_SLOTS = f"sum by (pool) ({gauge('slots', 'pool, state')})"
_BUSY_PART = f"{gauge('slots', 'pool', more=_ACQUIRED)} / clamp_min({_SLOTS}, 1)"
_REFUSED_PART = f"{per_second('gateway_requests', more=_NOT_2XX)} / clamp_min({per_second('gateway_requests')}, 0.001)"

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
                    (
                        Query(gauge("gateway_requests_open"), "requests"),
                        Query(gauge("gateway_sessions_open"), "sessions"),
                    ),
                ),
                Panel(
                    "Requests per second",
                    "ops",
                    "4xx are the callers', 401 a token; 429 and 503 say that the scheduler is full or away.",
                    (Query(per_second("gateway_requests", "status"), "{{status}}"),),
                ),
                Panel(
                    "From request to answer",
                    "s",
                    "Compare with the times of jobs: what is above them is upload and decoding.",
                    quantiles("gateway_request_seconds"),
                ),
                Panel(
                    "Refused in part",
                    "percentunit",
                    "Above 0.01 callers notice: see the statuses beside.",
                    (Query(_REFUSED_PART, "not answered"),),
                ),
                Panel(
                    "Audio brought per second",
                    "none",
                    "More than the engines do per second makes callers wait: compare with audio done.",
                    (Query(per_second("gateway_audio_seconds"), "audio-seconds"),),
                ),
                Panel(
                    "Bodies in memory",
                    "bytes",
                    "If it stays up without requests, report it as a leak; gateway.max_upload_mb bounds each.",
                    (Query(gauge("gateway_held_bytes"), "bytes"),),
                ),
            ),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, NODES, MEMORY, GATEWAY)
