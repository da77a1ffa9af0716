"""When a job will start: foretold by the learned speeds, and compared with when it does start, in virtual time."""

import random
from heapq import heappop, heappush

from ray_sched.core.views.explain import explain
from tests.support.builders import DispatchHarness, a_node, accepted, finished

_SPEEDS = {"node-a": 1.0, "node-b": 2.0, "node-c": 4.0}


class Town:
    """Three nodes of different speeds, whose runs take by chance up to 30 % more or less than their speed says."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  # the same ones every time
        self.harness = DispatchHarness()
        self.harness.offer(*(a_node(name, slots=2) for name in _SPEEDS))
        self._ends: list[tuple[int, str]] = []
        self._running: set[str] = set()
        self.started_at_ms: dict[str, int] = {}

    def submit(self, n_jobs: int) -> list[str]:
        jobs = [
            self.harness.submit(f"r{self.rng.random()}", audio_ms=self.rng.randint(1_000, 6_000), deadline_ms=3_600_000)
            for _ in range(n_jobs)
        ]
        self._start()
        return jobs

    def run(self) -> None:
        """Until all jobs have ended."""
        while self._ends:
            at_ms, job_id = heappop(self._ends)
            run_ms = at_ms - self.started_at_ms[job_id]
            self.harness.now_ms = at_ms
            self.harness.report(finished(job_id, run_ms=run_ms), node=self.harness.job(job_id).node)
            self._start()

    def _start(self) -> None:
        for job in self.harness.brain.jobs.values():
            if job.status == "assigned" and job.job_id not in self._running:
                self._running.add(job.job_id)
                self.started_at_ms[job.job_id] = self.harness.now_ms
                self.harness.report(accepted(job.job_id, audio_ms=job.audio_ms), node=job.node)
                run_ms = int(job.audio_ms / _SPEEDS[job.node] * self.rng.uniform(0.7, 1.3))
                heappush(self._ends, (self.harness.now_ms + run_ms, job.job_id))


def test_jobs_start_about_when_it_was_foretold() -> None:
    errors, n_within, n_told = [], 0, 0
    for seed in range(5):
        town = Town(seed)
        town.submit(60)
        town.run()
        jobs = town.submit(40)
        now_ms = town.harness.now_ms
        told = {job: explain(town.harness.brain, job, now_ms).starts for job in jobs if job not in town.started_at_ms}
        town.run()
        for job, starts in told.items():
            assert starts is not None
            assert not starts.is_guess
            in_ms = town.started_at_ms[job] - now_ms
            n_told += 1
            n_within += starts.earliest_ms <= in_ms <= starts.latest_ms
            errors.append(abs(in_ms - starts.in_ms) / max(in_ms, 1_000))
    assert n_told == 5 * 34
    errors.sort()
    assert errors[len(errors) // 2] < 0.15
    assert n_within / n_told > 0.6
