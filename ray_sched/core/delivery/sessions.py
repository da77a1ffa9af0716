"""Sessions: which utterance indexes are claimed, what is delivered next, and the node a session was last at."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable

from ray_sched.core.delivery.order import Deliver, Delivery, Gap, IndexState
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.messages.client_dispatcher import Delivered
from ray_sched.core.messages.fields import MAX_INDEX

_LOOK_FOR_IDLE = 16
"""How many of a client's sessions, the one used longest ago first, are asked whether they are idle."""
_REMEMBERED_SESSIONS = 10_000

Release = Deliver[Delivered] | Gap


class Session:
    """One conversation of one client."""

    def __init__(self, key: SessionKey, gap_wait_ms: int, now_ms: int = 0) -> None:
        self.key = key
        self.node = ""
        self.last_used_ms = now_ms
        self._delivery: Delivery[Delivered] = Delivery(gap_wait_ms)
        self._next_claim = 0
        self._open: dict[int, str] = {}
        """Utterance index to job id, for jobs that have not ended."""

    def claim(self, wanted: int | None) -> int | None:
        """The index a new job gets, or None if the wanted one is taken."""
        index = self._next_claim if wanted is None else wanted
        if index > MAX_INDEX:
            return None
        if index in self._open or self._delivery.state(index) in {IndexState.HELD, IndexState.DELIVERED}:
            return None
        self._next_claim = max(self._next_claim, index + 1)
        return index

    def try_again(self, index: int, job_id: str) -> None:
        """The job that had this index has failed, and another one is to take its place: it may claim the index."""
        held = self._delivery.held(index)
        is_its_own = held.job_id == job_id if held else self._delivery.state(index) is IndexState.DELIVERED
        if is_its_own:  # a session that was forgotten may have begun again, with other jobs
            self._delivery.try_again(index)

    def begin(self, index: int, job_id: str) -> None:
        """The job that has claimed this index is admitted; its result is awaited."""
        self._open[index] = job_id

    def withdraw(self, index: int) -> None:
        """Undo the claim of this index: the job is withdrawn, and another one may claim the index."""
        self._open.pop(index, None)
        if index == self._next_claim - 1:
            self._next_claim = index

    def ready(self, index: int, delivered: Delivered, now_ms: int) -> list[Release]:
        """The job of this index has ended. Returns what is released by that: nothing, if an earlier one is awaited."""
        self._open.pop(index, None)
        return self._delivery.ready(index, delivered, now_ms)

    def announce(self, now_ms: int) -> list[Release]:
        """What is released when the gap before a result that is held back is announced; nothing if it is too early."""
        return self._delivery.announce(now_ms)

    def go_on_at(self, index: int) -> None:
        """Go on at this index: the session was forgotten, what came before was delivered."""
        self._delivery.resume(index, ())
        self._next_claim = index

    def begin_at(self, index: int) -> list[Deliver[Delivered]]:
        """The submitter awaits nothing before this index. Returns what is released by that."""
        self._next_claim = max(self._next_claim, index)
        return self._delivery.begin_at(index)

    def resume(self, jobs: Iterable[Job]) -> None:
        """Go on where this session was, by the records of its jobs."""
        jobs = [job for job in jobs if job.utterance_index is not None]
        delivered = [job.utterance_index + 1 for job in jobs if job.utterance_index is not None and job.is_delivered]
        next_index = max([job.session_next_index for job in jobs] + delivered, default=0)
        self._open = {
            job.utterance_index: job.job_id for job in jobs if job.utterance_index is not None and not job.is_terminal
        }
        undelivered = [job.utterance_index for job in jobs if job.utterance_index is not None and not job.is_delivered]
        self._delivery.resume(next_index, [index for index in undelivered if index < next_index])
        self._next_claim = max([next_index] + [index + 1 for index in undelivered])

    def use(self, node: str, now_ms: int) -> None:
        """The session's newest job was assigned to this node."""
        self.node = node
        self.last_used_ms = now_ms

    def affine_node(self, now_ms: int, ttl_ms: int) -> str:
        """The node the session prefers, or nothing after a long silence."""
        return self.node if now_ms - self.last_used_ms < ttl_ms else ""

    @property
    def next_index(self) -> int:
        """The index whose result is delivered next."""
        return self._delivery.next_index

    @property
    def due_at_ms(self) -> int | None:
        """When the gap before a result that is held back has to be announced; None if none is."""
        return self._delivery.due_at_ms

    @property
    def is_idle(self) -> bool:
        """Whether no job of this session waits or runs, and no result is held back."""
        return not self._open and not self._delivery.n_held

    def why_missing(self, gap: Gap) -> str:
        """The sentence for an announced gap."""
        open_jobs = [job for index, job in self._open.items() if gap.first <= index <= gap.last]
        if not open_jobs:
            return "not submitted"
        if len(open_jobs) == gap.last - gap.first + 1:
            return f"not finished yet: {', '.join(sorted(open_jobs)[:3])}"
        return f"{len(open_jobs)} not finished yet, the others not submitted"


class Sessions:
    """All sessions, by key and by client; and, of the newest that were closed, at which index they would go on."""

    def __init__(self, gap_wait_ms: int) -> None:
        self.by_key: dict[SessionKey, Session] = {}
        self._gap_wait_ms = gap_wait_ms
        self._of_client: dict[str, OrderedDict[SessionKey, None]] = {}
        """A client's sessions, the one that was used longest ago first."""
        self._resume_at: OrderedDict[SessionKey, int] = OrderedDict()

    def get(self, key: SessionKey) -> Session | None:
        """The session of this key, if it is open."""
        return self.by_key.get(key)

    def open(self, key: SessionKey, now_ms: int) -> Session:
        """Add a session under this key, which has none."""
        session = self.by_key[key] = Session(key, self._gap_wait_ms, now_ms)
        self._of_client.setdefault(key[0], OrderedDict())[key] = None
        return session

    def touch(self, session: Session) -> None:
        """Note that this is the session that its client has used last."""
        self._of_client[session.key[0]].move_to_end(session.key)

    def of_client(self, client_id: str) -> list[SessionKey]:
        """A client's sessions, the one that was used longest ago first."""
        return list(self._of_client.get(client_id, ()))

    def n_of_client(self, client_id: str) -> int:
        """How many sessions a client has."""
        return len(self._of_client.get(client_id, ()))

    def idle_of_client(self, client_id: str) -> Session | None:
        """A session of the client that is idle, out of those that were used longest ago."""
        oldest = (self.by_key[key] for key in itertools.islice(self._of_client[client_id], _LOOK_FOR_IDLE))
        return next((session for session in oldest if session.is_idle), None)

    def close(self, session: Session, *, is_client_there: bool) -> None:
        """Forget a session. Of a client that is gone nothing is remembered: it may have missed some results."""
        client_id = session.key[0]
        del self.by_key[session.key]
        keys = self._of_client[client_id]
        del keys[session.key]
        if not keys:
            del self._of_client[client_id]
        if session.next_index and is_client_there:
            self._resume_at[session.key] = session.next_index
            self._resume_at.move_to_end(session.key)
            if len(self._resume_at) > _REMEMBERED_SESSIONS:
                self._resume_at.popitem(last=False)

    def pop_resume_at(self, key: SessionKey) -> int:
        """The index at which a session that was closed would go on, once; 0 if it is not remembered."""
        return self._resume_at.pop(key, 0)
