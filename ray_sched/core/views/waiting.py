"""All that waits, by why: how many jobs, how many nodes have that against them, and how long the oldest waits."""

from collections import Counter
from typing import TYPE_CHECKING

from ray_sched.core.job import Job
from ray_sched.core.reasons import Reason, Tier, nearest, tier_of
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explanation import WaitingRow
from ray_sched.core.views.verdicts import verdicts_of

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_AT_ONCE = 500
_MOST_GROUPS = 100
_PAIRS_SHOWN = 3


class _Group:
    """Jobs for which the policy says the same of each node."""

    def __init__(self, job: Job) -> None:
        self.oldest = job
        self.n_jobs = 0


def explaining_all(brain: "DispatchBrain", now_ms: int) -> Sliced[list[WaitingRow]]:
    """The rows, the one with the most jobs first.

    For jobs that need the same the policy is asked once; of more than a hundred such kinds the smallest are told
    together, as ``NOT_ASKED``.
    """
    rows: dict[str, WaitingRow] = {}
    groups: dict[object, _Group] = {}
    for n, job in enumerate(brain.waiting.all()):
        if brain.waiting.is_paused(job.client_id):
            key: object = Tier.CLIENT_BLOCKED
        elif brain.is_store_away:
            key = Tier.STORE_AWAY
        else:
            key = (job.demand, job.excluded_node, job.is_exclusive)
        group = groups.setdefault(key, _Group(job))
        group.n_jobs += 1
        group.oldest = min(group.oldest, job, key=lambda each: each.created_at_ms)
        if not n % _AT_ONCE:
            yield
    largest = sorted(groups.items(), key=lambda item: -item[1].n_jobs)
    for number, (key, group) in enumerate(largest):
        if isinstance(key, Tier):
            tier, reason, n_nodes = str(key), str(key), 0
        elif number >= _MOST_GROUPS:
            tier, reason, n_nodes = "", "NOT_ASKED", 0
        else:
            tier, reason, n_nodes = yield from _reason(brain, group.oldest, now_ms)
        _add(rows.setdefault(reason, WaitingRow(tier=tier, reason=reason)), group, n_nodes, now_ms)
    return sorted(rows.values(), key=lambda row: -row.jobs)


def _reason(brain: "DispatchBrain", job: Job, now_ms: int) -> Sliced[tuple[str, str, int]]:
    node_states = list(brain.node_states.values())
    verdicts = yield from verdicts_of(brain, brain.question(job, now_ms), brain.candidates(job.demand), node_states)
    counts = Counter(Reason(verdict.reason) for verdict in verdicts if verdict.reason)
    main = nearest(counts, len(node_states))
    return str(tier_of(counts, len(node_states))), str(main), counts[main] if isinstance(main, Reason) else 0


def _add(row: WaitingRow, group: _Group, n_nodes: int, now_ms: int) -> None:
    row.jobs += group.n_jobs
    row.nodes = max(row.nodes, n_nodes)
    pair = group.oldest.demand.pair
    if pair not in row.pairs and len(row.pairs) < _PAIRS_SHOWN:
        row.pairs = (*row.pairs, pair)
    age_ms = now_ms - group.oldest.created_at_ms
    if age_ms >= row.oldest_ms:
        row.oldest_ms, row.oldest_job = age_ms, group.oldest.job_id
