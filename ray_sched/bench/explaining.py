"""What it takes to explain why a job waits, and for how long everybody else waits meanwhile."""

import gc
import random
import time
from collections.abc import Sequence

from msgspec import Struct

from ray_sched.bench.contest import Notify
from ray_sched.bench.report import Setting, this_setting
from ray_sched.bench.scale import fresh_store
from ray_sched.bench.simulated import Shape, SimulatedCluster
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explain import explaining
from ray_sched.core.views.explanation import Explanation

_SLOTS = 4
_NODES_PER_POOL = 100
_SLICE_S = 0.002
"""As the Dispatcher does it: after so much of it everybody else goes first."""


class ExplainReport(Struct, frozen=True, kw_only=True):
    """What ``bench explain --json`` prints. All times are CPU time of the one thread that the Dispatcher has."""

    setting: Setting
    nodes: int
    waiting: int
    questions: int
    p50_ms: float
    p99_ms: float
    longest_slice_p50_ms: float
    """The longest of each question during which nobody else could go; of all questions the median."""
    longest_slice_p99_ms: float
    longest_slice_ms: float


async def measure_explain(n_nodes: int, n_waiting: int, n_questions: int, notify: Notify) -> ExplainReport:
    """Explain jobs of a full cluster, chosen by chance, with nothing else going on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)  # as the processes of the scheduler begin
    n_running = n_nodes * _SLOTS
    n_pools = -(-n_nodes // _NODES_PER_POOL)
    shape = Shape(nodes=n_nodes, slots=_SLOTS, pools=n_pools, in_flight=n_running + n_waiting, term_ms=10**8)
    async with fresh_store() as store:
        cluster = SimulatedCluster(shape, store)
        await cluster.fill()
        notify(f"{n_nodes} nodes are full, {n_waiting} jobs wait")
        brain, now_ms = cluster.brain, max(job.created_at_ms for job in cluster.brain.jobs.values())
        waiting = [job.job_id for job in brain.waiting.all()]
        chosen = random.Random(1).choices(waiting, k=n_questions)  # noqa: S311  # the same ones every time
        _time(explaining(brain, chosen[0], now_ms))
        times = [_time(explaining(brain, job_id, now_ms)) for job_id in chosen]
    totals = sorted(total_s for total_s, _ in times)
    slices = sorted(longest_s for _, longest_s in times)
    return ExplainReport(
        setting=this_setting(),
        nodes=n_nodes,
        waiting=len(waiting),
        questions=n_questions,
        p50_ms=_ms(totals, 0.5),
        p99_ms=_ms(totals, 0.99),
        longest_slice_p50_ms=_ms(slices, 0.5),
        longest_slice_p99_ms=_ms(slices, 0.99),
        longest_slice_ms=_ms(slices, 1.0),
    )


def _time(work: Sliced[Explanation]) -> tuple[float, float]:
    """CPU seconds of all of it, and of the longest part of it between two at which others may go."""
    total_s = longest_s = slice_s = 0.0
    is_done = False
    while not is_done:
        began_s = time.thread_time()
        try:
            next(work)
        except StopIteration:
            is_done = True
        spent_s = time.thread_time() - began_s
        total_s += spent_s
        slice_s += spent_s
        if is_done or slice_s >= _SLICE_S:
            longest_s, slice_s = max(longest_s, slice_s), 0.0
    return total_s, longest_s


def _ms(in_order: Sequence[float], part: float) -> float:
    return round(in_order[min(int(part * len(in_order)), len(in_order) - 1)] * 1000, 2)
