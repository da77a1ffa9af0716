"""Delivering: outcomes reach their submitter at once, or in the order of their session."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from ray_sched.core.delivery.order import Deliver
from ray_sched.core.delivery.sessions import Release, Session
from ray_sched.core.dispatch.client_events import delivered
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.job import Job, SessionKey
from ray_sched.core.messages.client_dispatcher import JobSpec, MissingResult
from ray_sched.core.rules import DeliveryRules

_LOOK_FOR_IDLE = 16
"""How many of a client's sessions, the one used longest ago first, are asked whether they are idle."""
_REMEMBERED_SESSIONS = 10_000


class Delivering:
    """The sessions, and what is delivered when."""

    def __init__(self, state: DispatchState, rules: DeliveryRules) -> None:
        self._state = state
        self._rules = rules
        self.sessions: dict[SessionKey, Session] = {}
        self._of_client: dict[str, OrderedDict[str, None]] = {}
        """Names of a client's sessions, the one that was used longest ago first."""
        self._left_at: OrderedDict[SessionKey, int] = OrderedDict()
        """The next index of sessions that are forgotten, for those that go on all the same."""

    def session(self, client_id: str, name: str) -> Session:
        """The session of this name; a new one if there is none."""
        key = (client_id, name)
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = Session(key, self._rules.gap_wait_ms)
            self._of_client.setdefault(client_id, OrderedDict())[name] = None
            self._state.due.set(("session", *key), self._state.now_ms + self._state.rules.session_ttl_ms)
            session.last_used_ms = self._state.now_ms
        return session

    def enter(self, client_id: str, spec: JobSpec) -> Session | None:
        """The session of a new job. None: it would be one too many, and the client has none that is idle."""
        key = (client_id, spec.session)
        names = self._of_client.get(client_id)
        if key in self.sessions:
            self._of_client[client_id].move_to_end(spec.session)
            return self.sessions[key]
        if names and len(names) >= self._state.rules.max_sessions_per_client:
            oldest = (self.sessions[client_id, name] for name in itertools.islice(names, _LOOK_FOR_IDLE))
            idle = next((session for session in oldest if session.is_idle), None)
            if idle is None:
                return None
            self._forget(idle)
        session = self.session(client_id, spec.session)
        left_at = self._left_at.pop(key, 0)
        if spec.utterance_index is not None and spec.utterance_index >= left_at > 0:
            session.begin_at(left_at)
        return session

    def of_client(self, client_id: str) -> list[str]:
        """Names of a client's sessions."""
        return list(self._of_client.get(client_id, ()))

    def _forget(self, session: Session) -> None:
        client_id, name = session.key
        del self.sessions[session.key]
        names = self._of_client[client_id]
        del names[name]
        if not names:
            del self._of_client[client_id]
        self._state.due.cancel(("session", *session.key))
        self._state.due.cancel(("gap", *session.key))
        if session.delivery.next_index and client_id in self._state.clients:  # one that was gone may have missed some
            self._left_at[session.key] = session.delivery.next_index
            self._left_at.move_to_end(session.key)
            if len(self._left_at) > _REMEMBERED_SESSIONS:
                self._left_at.popitem(last=False)

    def deliver(self, job: Job) -> None:
        """Deliver the outcome now, or when its turn in the session comes."""
        if job.utterance_index is None:
            job.is_delivered = True
            self._state.notify(job, delivered(job))
            return
        session = self.session(job.client_id, job.spec.session)
        session.open_indexes.pop(job.utterance_index, None)
        self.release(session, session.delivery.ready(job.utterance_index, delivered(job), self._state.now_ms))

    def release(self, session: Session, released: Iterable[Release]) -> None:
        """Tell what a session lets go."""
        client_id, name = session.key
        for what in released:
            if isinstance(what, Deliver):
                self._mark_delivered(what.item.job_id)
                self._state.counters.late_results += what.is_late
                event = msgspec.structs.replace(what.item, is_late=what.is_late)
                self._state.notify_client(client_id, event)
            else:
                self._state.counters.gaps += 1
                missing = MissingResult(
                    session=name, first_index=what.first, last_index=what.last, why=session.why_missing(what)
                )
                self._state.notify_client(client_id, missing)
        due_at_ms = session.delivery.due_at_ms
        if due_at_ms is None:
            self._state.due.cancel(("gap", *session.key))
        else:
            self._state.due.set(("gap", *session.key), due_at_ms)

    def _mark_delivered(self, job_id: str) -> None:
        job = self._state.jobs.get(job_id)
        if job:
            job.is_delivered = True
            self._state.touched[job_id] = job

    def session_due(self, key: SessionKey) -> None:
        """Forget a session that was not used for too long, or whose client is gone, once nothing of it is open."""
        session = self.sessions.get(key)
        if session is None:  # due twice in one sweep: by itself, and with its client
            return
        is_client_gone = key[0] not in self._state.clients
        gone_at_ms = session.last_used_ms + self._state.rules.session_ttl_ms
        if session.is_idle and (is_client_gone or self._state.now_ms >= gone_at_ms):
            self._forget(session)
        else:
            soon_ms = self._state.now_ms + self._state.rules.client_ttl_ms
            self._state.due.set(("session", *key), soon_ms if is_client_gone else max(gone_at_ms, soon_ms))

    def restore_sessions(self, jobs: list[Job]) -> None:
        """Each session goes on where it was: what was delivered stays so, what was held is held or delivered."""
        by_session: dict[SessionKey, list[Job]] = {}
        for job in jobs:
            if job.spec.session:
                by_session.setdefault(job.session_key, []).append(job)
        for key, members in by_session.items():
            session = self.session(*key)
            session.resume(members)
            for job in members:
                if job.is_terminal and not job.is_delivered:
                    self.deliver(job)
