"""When a waiting job will start, by the learned speeds: what runs has to end, and what is ahead of it has to run."""

from collections.abc import Iterable
from heapq import heapify, heapreplace
from math import sqrt
from typing import TYPE_CHECKING

from ray_sched.core.job import Job
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.slices import Sliced
from ray_sched.core.views.explanation import Forecast

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_AT_ONCE = 50
_JOBS_AT_ONCE = 500


def foresee(
    brain: "DispatchBrain", job: Job, node_states: Iterable[NodeState], ahead_ms: Iterable[int], now_ms: int
) -> Sliced[Forecast | None]:
    """The forecast for a job that may use these nodes' slots after the jobs ahead have used them. None without a slot.

    Each job ahead takes the slot that is free first, for as long as its audio takes there.
    """
    pair, speeds = job.demand.pair, brain.speeds
    slots: list[tuple[float, int]] = []
    names: list[str] = []
    speed_of: list[float] = []
    runs = _Runs(brain, now_ms)
    running_ms = 0
    for number, node_state in enumerate(node_states):
        names.append(node_state.node)
        speed_of.append(speeds.speed(node_state.node, pair))
        slots += [(0.0, number)] * node_state.n_free
        for (job_id, _), audio_ms in node_state.audio_on_slots():
            left_ms = runs.left_ms(job_id, node_state.node, audio_ms)
            running_ms += int(left_ms * speed_of[-1])
            slots.append((left_ms, number))
        if not number % _AT_ONCE:
            yield
    if not slots:
        return None
    heapify(slots)
    n_ahead, ahead_total_ms, run_total_ms = 0, 0, 0.0
    for audio_ms in ahead_ms:
        at_ms, number = slots[0]
        run_ms = audio_ms / speed_of[number]
        heapreplace(slots, (at_ms + run_ms, number))
        n_ahead, ahead_total_ms, run_total_ms = n_ahead + 1, ahead_total_ms + audio_ms, run_total_ms + run_ms
        if not n_ahead % _JOBS_AT_ONCE:
            yield
    at_ms, number = slots[0]
    rounds = 1 + n_ahead / len(slots)
    longest_ms = max(at_ms, run_total_ms / n_ahead) if n_ahead else at_ms
    spread_ms = speeds.deviation(pair) * longest_ms / rounds * sqrt(rounds) if at_ms else 0.0
    return Forecast(
        in_ms=int(at_ms),
        earliest_ms=max(int(at_ms - spread_ms), 0),
        latest_ms=int(at_ms + spread_ms),
        node=names[number],
        audio_ahead_s=round((running_ms + ahead_total_ms) / 1000, 1),
        is_guess=not speeds.is_known(pair),
    )


class _Runs:
    """How long attempts will hold their slots."""

    def __init__(self, brain: "DispatchBrain", now_ms: int) -> None:
        self._jobs = brain.jobs
        self._speeds = brain.speeds
        self._now_ms = now_ms
        self._least: dict[str, float] = {}

    def left_ms(self, job_id: str, node: str, audio_ms: int) -> float:
        """Of an attempt that is over its time already half as long again as runs of its pair vary."""
        job = self._jobs.get(job_id)
        if job is None:  # forgotten, and still to be confirmed by the node
            return 0.0
        spec = job.spec
        pair = f"{spec.src}:{spec.tgt}"
        least = self._least.get(pair)
        if least is None:
            least = self._least[pair] = min(self._speeds.deviation(pair), 1.0) / 2
        whole_ms = audio_ms / self._speeds.speed(node, pair)
        ran_ms = self._now_ms - job.accepted_at_ms if job.accepted_at_ms else 0
        return max(whole_ms - ran_ms, whole_ms * least)
