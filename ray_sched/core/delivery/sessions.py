"""Sessions: which utterance indexes are taken, what is delivered next, and the node a session was last at."""

from collections.abc import Iterable

from ray_sched.core.delivery.order import Deliver, Delivery, Gap, IndexState
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.messages.client_dispatcher import Delivered
from ray_sched.core.messages.fields import MAX_INDEX


class Session:
    """One conversation of one client."""

    def __init__(self, key: SessionKey, gap_wait_ms: int) -> None:
        self.key = key
        self.delivery: Delivery[Delivered] = Delivery(gap_wait_ms)
        self.open_indexes: dict[int, str] = {}
        """Utterance index to job id, for jobs that have not ended."""
        self.node = ""
        self.last_used_ms = 0
        self._next_index = 0

    def claim(self, wanted: int | None) -> int | None:
        """The index a new job gets, or None if the wanted one is taken."""
        index = self._next_index if wanted is None else wanted
        if index > MAX_INDEX:
            return None
        if index in self.open_indexes or self.delivery.state(index) in {IndexState.HELD, IndexState.DELIVERED}:
            return None
        self._next_index = max(self._next_index, index + 1)
        return index

    def begin_at(self, index: int) -> None:
        """Go on at this index: the session was forgotten, what came before was delivered."""
        self.delivery.resume(index, ())
        self._next_index = index

    def take_back(self, index: int) -> None:
        """The job that had claimed this index has never been: another may."""
        self.open_indexes.pop(index, None)
        if index == self._next_index - 1:
            self._next_index = index

    def resume(self, jobs: Iterable[Job]) -> None:
        """Go on where the saved jobs of this session say that it was."""
        jobs = [job for job in jobs if job.utterance_index is not None]
        delivered = [job.utterance_index + 1 for job in jobs if job.utterance_index is not None and job.is_delivered]
        next_index = max([job.session_next_index for job in jobs] + delivered, default=0)
        self.open_indexes = {
            job.utterance_index: job.job_id for job in jobs if job.utterance_index is not None and not job.is_terminal
        }
        undelivered = [job.utterance_index for job in jobs if job.utterance_index is not None and not job.is_delivered]
        self.delivery.resume(next_index, [index for index in undelivered if index < next_index])
        self._next_index = max([next_index] + [index + 1 for index in undelivered])

    def use(self, node: str, now_ms: int) -> None:
        """The session's newest job went to this node."""
        self.node = node
        self.last_used_ms = now_ms

    def affine_node(self, now_ms: int, ttl_ms: int) -> str:
        """The node the session prefers, or nothing after a long silence."""
        return self.node if now_ms - self.last_used_ms < ttl_ms else ""

    @property
    def is_idle(self) -> bool:
        """Nothing runs, waits or is held."""
        return not self.open_indexes and not self.delivery.n_held

    def why_missing(self, gap: Gap) -> str:
        """The sentence for an announced gap."""
        open_jobs = [job for index, job in self.open_indexes.items() if gap.first <= index <= gap.last]
        if not open_jobs:
            return "not submitted"
        if len(open_jobs) == gap.last - gap.first + 1:
            return f"not finished yet: {', '.join(sorted(open_jobs)[:3])}"
        return f"{len(open_jobs)} not finished yet, the others not submitted"


Release = Deliver[Delivered] | Gap
