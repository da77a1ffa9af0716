"""What happened since the Dispatcher's start, in numbers; read by status and metrics."""

from collections import Counter

from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.reasons import Reason


class Counters:
    """How often things happened since the start; read by metrics and status."""

    def __init__(self) -> None:
        self.submitted = 0
        self.duplicates = 0
        self.rejected: Counter[Code] = Counter()
        self.assigned = 0
        self.requeued = 0
        self.refused = 0
        self.late_messages = 0
        self.ended: Counter[JobStatus] = Counter()
        self.no_node: Counter[Reason] = Counter()
        self.gaps = 0
        self.late_results = 0
        self.cleaned = 0


_EVERY_MS = 1_000
_WEIGHT = 0.2


class Rate:
    """Jobs ended per second, exponentially averaged over about 5 s: the base of ``retry_after_ms``."""

    def __init__(self) -> None:
        self.per_s = 0.0
        self._before: tuple[int, int] | None = None

    def measure(self, n_ended: int, now_ms: int) -> None:
        """Take the count of all jobs ended so far in; looks once a second at most."""
        if self._before is None:
            self._before = (now_ms, n_ended)
            return
        at_ms, n_before = self._before
        if now_ms - at_ms >= _EVERY_MS:
            seen = (n_ended - n_before) * 1000 / (now_ms - at_ms)
            self.per_s += _WEIGHT * (seen - self.per_s)
            self._before = (now_ms, n_ended)
