"""Every number a decision uses, with its unit in its name, its default and its bounds.

The settings file has one section per class here; the brains are given the class and nothing else of the settings.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, MaxLen

_REFUSE_UNKNOWN = {"extra": "forbid"}

Milliseconds = Annotated[int, Ge(1), Le(30 * 24 * 3600 * 1000)]
Percent = Annotated[float, Gt(0), Le(101)]


INLINE_BYTES = 100 * 2**10
"""A push of up to so much audio goes in the call itself, a larger one through the object store: where Ray itself draws
the line for arguments. That is 3.2 s of speech, alone or together. With 64 jobs of 160 KB in flight the store is
no worse; one at a time it costs 12.9 ms of CPU a job instead of 9.2 on the submitter's node, on another one 21 instead
of 11.6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRules:
    """Admission, attempts and time-outs of jobs."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    pending_timeout_ms: Milliseconds = 10_000
    """A job without a deadline of its own may wait this long for a slot."""
    push_timeout_ms: Milliseconds = 2_000
    """An assigned job's audio must be accepted by the node within this time, and ``push_ms_per_audio_s`` more for all
    that its client brings at the same time."""
    push_retry_ms: Milliseconds = 500
    """A job whose push failed is not pushed to the same node again for this long, even if there is no other: an agent
    that has died is noticed meanwhile, and does not use up the job's failovers."""
    push_ms_per_audio_s: Annotated[int, Ge(0), Le(10_000)] = 20
    """Milliseconds more for each second of audio: a long file takes its time to be read and moved."""
    run_timeout_ms: Milliseconds = 60_000
    """A job may run this long, or ``run_timeout_factor`` times its audio if that is longer."""
    run_timeout_factor: Annotated[float, Gt(0), Le(10_000)] = 10.0
    max_failovers: Annotated[int, Ge(0), Le(100)] = 3
    """How often a job goes back to pending before it fails."""
    max_engine_retries: Annotated[int, Ge(0), Le(100)] = 1
    """How many of those may follow an error that the engine itself raised about the job."""
    max_refusals: Annotated[int, Ge(0), Le(10_000)] = 50
    """How often nodes may refuse one job; a refusal costs no failover, but it must end somewhere."""
    max_waiting_jobs: Annotated[int, Ge(1)] = 10_000
    max_waiting_jobs_per_session: Annotated[int, Ge(1)] = 200
    max_sessions_per_client: Annotated[int, Ge(1)] = 10_000
    """When a client opens one more, its longest idle session is forgotten; if none is idle, the new one is refused."""
    client_ttl_ms: Milliseconds = 10_000
    """Waiting jobs of a client whose process has not been heard of for this long are cancelled; one whose event loop is
    blocked is heard of."""
    session_ttl_ms: Milliseconds = 3_600_000
    """A session without jobs is forgotten after this long."""


def push_limit_ms(audio_ms: int, timeout_ms: int, ms_per_audio_s: int) -> int:
    """How long the push of so much audio may take: ``push_timeout_ms`` and ``push_ms_per_audio_s`` of the rules.

    The client waits by it for the answer to all that is in one push, and the Dispatcher for each job by all that its
    client brings at the same time: never less, as far as lengths are known before they are read, so what a client still
    pushes is not given to another node.
    """
    return timeout_ms + audio_ms * ms_per_audio_s // 1000


def run_limit_ms(audio_ms: int, rules: DispatchRules) -> int:
    """How long a job with so much audio may run."""
    return max(rules.run_timeout_ms, int(rules.run_timeout_factor * audio_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """Order of results within a session."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    gap_wait_ms: Milliseconds = 5_000
    """A result waits this long for the ones before it; then the gap is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRules:
    """Which node a job goes to."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    policy: Annotated[str, MaxLen(200)] = "expected_completion"
    """``expected_completion``, ``least_in_flight``, ``fastest_free``, ``random``, or your own as
    ``package.module:object``."""
    affinity_ttl_ms: Milliseconds = 300_000
    """A session prefers its last node until it was silent for this long."""
    affinity_discount: Annotated[float, Gt(0), Le(1)] = 0.8
    """Factor on the expected completion at the session's own node: bounded, so a slow node loses its sessions."""
    busy_penalty: Annotated[float, Ge(0), Le(1)] = 0.25
    """A node with all slots busy would count as slower by this part of its expected completion, one with half of them
    by half of it, so that of equal nodes the least loaded is taken. In virtual time, 120 nodes at load 0.3: where each
    busy slot slows the others by 10 %, jobs are done 10 % sooner than without it; where none does, 1 % later."""
    newcomer_penalty: Annotated[float, Ge(1), Le(1_000)] = 4.0
    """A node that joins or comes back while others run counts as so many times slower for what is beyond its share: one
    job at a time, and twice as many after each that ends well. 1: it has all its slots at once."""
    speed_weight: Annotated[float, Gt(0), Le(1)] = 0.2
    """Weight of the newest observation in a node's exponentially averaged speed."""
    default_speed: Annotated[float, Gt(0), Le(1_000_000)] = 1.0
    """Audio-seconds per second assumed while no node's speed for a pair is known."""
    assumed_audio_ms: Milliseconds = 5_000
    """Duration assumed for audio whose length is not known before it is read."""
    unavailable_ms: Milliseconds = 60_000
    """A service whose model a node reported as not available is skipped there for this long."""
    quarantine_failures_in_a_row: Annotated[int, Ge(1)] = 3
    quarantine_failures_of_last_5: Annotated[int, Ge(1), Le(5)] = 3
    quarantine_ms: Milliseconds = 30_000
    """How long a quarantined node rests before it is tried again."""
    colocate_ms: Annotated[int, Ge(0), Le(60_000)] = 20
    """Jobs of one submitter that find a slot in the same step go to one node while none is done later by more than
    this: they travel in one push, and a push across machines costs about 6 ms of CPU whatever it carries."""
    refusal_rest_ms: Milliseconds = 50
    """A node that refused is left alone this long; doubles with each refusal in a row, up to 1.6 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupRules:
    """When finished jobs are forgotten. 30 s / 120 s are the documented values for machines short of memory."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    every_ms: Milliseconds = 60_000
    keep_ms: Annotated[int, Ge(0)] = 300_000
    """Age after its end at which a job is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """Health of nodes."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    poll_ms: Milliseconds = 250
    """How often Ray is asked for its nodes."""
    heartbeat_ms: Milliseconds = 500
    suspect_after_ms: Milliseconds = 1_500
    lost_after_ms: Milliseconds = 3_000
    start_timeout_ms: Milliseconds = 60_000
    """An agent that has not sent its first heartbeat by then, or is silent for so long while it loads its engine, is
    started again."""
    respawn_delay_ms: Milliseconds = 1_000
    """Pause before an agent is started again on a node that lost one; doubles up to 30 s."""
    drain_deadline_ms: Milliseconds = 120_000
    """Running jobs of a draining node may take this long."""
    default_slots: Annotated[int, Ge(1), Le(1024)] = 4
    """Slots of a node whose labels name none."""
    profiles_file: Annotated[str, MaxLen(4_096)] = "/etc/ray_sched/profiles.yaml"
    """On a node: where its profiles are that the settings do not have. Its own variable goes before this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """Leases and pools."""

    __pydantic_config__: ClassVar[dict[str, str]] = _REFUSE_UNKNOWN

    max_nodes_per_pool: Annotated[int, Ge(1)] = 100
    pool_idle_ttl_ms: Milliseconds = 60_000
    """A pool without nodes is removed after this long."""
    lease_term_ms: Milliseconds = 10_000
    """A lease that was not renewed for this long is not acquired any more."""
    cpu_threshold_percent: Percent = 85.0
    """At or above it a node gets no new work; counts what others use, our own work is bounded by slots. 101: never."""
    gpu_threshold_percent: Percent = 85.0
    memory_threshold_percent: Percent = 85.0
