"""The dashboard with which one begins: jobs, their times, audio, and the scheduler itself."""

from ray_sched.observe.panels import Dashboard, Panel, Query, Row, quantiles
from ray_sched.observe.queries import gauge, mean_size, per_second, quantile, ratio

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
                    quantiles("job_total_seconds"),
                ),
                Panel(
                    "Waiting for a node",
                    "s",
                    "If it grows, slots are missing: add nodes, or look for drained and degraded ones.",
                    quantiles("job_wait_seconds"),
                ),
                Panel(
                    "Pushing the audio",
                    "s",
                    "If it grows alone, the network or the client is slow, or its event loop is blocked.",
                    quantiles("job_push_seconds"),
                ),
                Panel(
                    "Running",
                    "s",
                    "If it grows alone, the engine is slower than before: compare the real-time factor.",
                    quantiles("job_run_seconds"),
                ),
                Panel(
                    "Waiting for earlier results of the session",
                    "s",
                    "If it grows, utterances of a session are missing or fail: look at gaps per second.",
                    quantiles("job_delivery_seconds"),
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
                    "A few follow each failover; many without one mean that a node or its network stands still.",
                    (
                        Query(per_second("late_messages"), "late"),
                        Query(per_second("jobs_duplicate"), "known request ids"),
                    ),
                ),
            ),
        ),
    ),
)
