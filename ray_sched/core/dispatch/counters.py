"""What happened since the Dispatcher's start, in numbers; read by status and metrics."""

from collections import Counter

from ray_sched.core.distribution import Distribution
from ray_sched.core.errors import Code
from ray_sched.core.job import JobStatus
from ray_sched.core.reasons import Reason, Tier


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
        self.failed: Counter[Code] = Counter()
        """Jobs that ended without a result, by why."""
        self.failovers: Counter[Code] = Counter()
        """Attempts that ended without the end of their job, by why."""
        self.no_node: Counter[Reason | Tier] = Counter()
        """Jobs that found no node in time, each once: by what was against the nodes that were nearest to serving it."""
        self.gaps = 0
        self.late_results = 0
        self.cleaned = 0
        self.cleaned_bytes = 0
        self.audio_ms: Counter[str] = Counter()
        """Audio of runs that ended well, by engine."""
        self.run_ms: Counter[str] = Counter()
        """Duration of these runs."""
        self.times = Times()


class Times:
    """How long jobs took, in milliseconds."""

    def __init__(self) -> None:
        self.wait = Distribution()
        """From submission until the job's first attempt had a node."""
        self.push = Distribution()
        """From then, in each attempt, until the node had accepted the audio."""
        self.run = Distribution()
        """In the engine, as the agent has measured it, of runs that ended well."""
        self.delivery = Distribution()
        """From the end until the outcome is in the client's mailbox: what the order of its session takes."""
        self.total = Distribution()
        """From submission until then."""


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
