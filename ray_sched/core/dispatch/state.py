"""What the Dispatcher knows, and the verbs that change it.

A verb changes all that belongs together: a job that moves on is saved, its due time is set or cancelled, and it is
noted on its node or taken off it. So none of that can be forgotten by those who decide that it moves on. Verbs decide
nothing; every index of the Dispatcher is here, and nobody else writes to one.
"""

from ray_sched.core.delivery.sessions import Session, Sessions
from ray_sched.core.dispatch.census import Census
from ray_sched.core.dispatch.cleanup import EndedJobs
from ray_sched.core.dispatch.counters import Counters, Rate
from ray_sched.core.dispatch.due import ClientDue, Due, GapDue, JobDue, SessionDue, StopDue
from ray_sched.core.dispatch.history import What
from ray_sched.core.dispatch.job_index import JobIndex
from ray_sched.core.dispatch.pushes import Pushes
from ray_sched.core.dispatch.reservations import Reservations
from ray_sched.core.dispatch.step import Step
from ray_sched.core.job import Fenced, Job, JobEvent, JobStatus, SessionKey, to_record
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.client_dispatcher import JobSpec, Outcome
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.node_table import NodeTable
from ray_sched.core.placement.policy import PlacementPolicy
from ray_sched.core.placement.speeds import SpeedBook
from ray_sched.core.ports import SaveJob
from ray_sched.core.queue.waiting import Waiting, cost_ms
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules, run_limit_ms
from ray_sched.core.timers import DueQueue

_REPEAT_STOP_MS = 1_000


class DispatchState:
    """Jobs, nodes, clients, sessions, what waits and what is due."""

    def __init__(
        self,
        epoch: str,
        rules: DispatchRules,
        delivery_rules: DeliveryRules,
        selection_rules: SelectionRules,
        policy: PlacementPolicy,
    ) -> None:
        self.rules = rules
        self.policy = policy
        self.selection = selection_rules
        self.index = JobIndex()
        self.jobs = self.index.by_id
        self.waiting = Waiting(lambda demand: self.node_table.groups.enqueue(demand))  # noqa: PLW0108  # there is no table yet
        self.speeds = SpeedBook(selection_rules)
        self.node_table = NodeTable(self.speeds, self.waiting.queue_key, self.waiting.demands)
        self.sessions = Sessions(delivery_rules.gap_wait_ms)
        self.clients: dict[str, int] = {}
        """When each client sent its last call."""
        self.reservations = Reservations()
        self.pushes = Pushes(rules, selection_rules.assumed_audio_ms)
        self.ended = EndedJobs()
        self.counters = Counters()
        self.census = Census(selection_rules.assumed_audio_ms)
        self.expected_ms = self.census.expected_ms
        self.rate = Rate()
        self.is_draining = False
        """No new jobs are admitted."""
        self.is_store_away = False
        """Nothing can be saved, so no client can be notified."""
        self._epoch = epoch
        self._n_admitted = 0
        self._record_bytes: dict[str, int] = {}
        self._due: DueQueue[Due] = DueQueue()

    def admit(self, step: Step, client_id: str, spec: JobSpec, index: int | None) -> Job:
        """A new job is known by its id and its request, and begins to wait. ``index``: its place in its session."""
        self._n_admitted += 1
        job = Job(
            job_id=f"{self._epoch}-{self._n_admitted}",
            client_id=client_id,
            spec=spec,
            utterance_index=index,
            created_at_ms=step.now_ms,
            number=self._n_admitted,
            audio_ms=spec.audio_ms,
            deadline_at_ms=step.now_ms + (spec.deadline_ms or self.rules.pending_timeout_ms),
        )
        step.record(job, What.SUBMITTED, "submitted")
        self.index.add(job)
        self.census.enter(job)
        self._wait(step, job)
        return job

    def _wait(self, step: Step, job: Job) -> None:
        step.save(job)
        self._due.set(JobDue(job.job_id), job.deadline_at_ms)
        self.waiting.add(job)

    def assign(self, step: Step, job: Job, node_state: NodeState) -> None:
        """A waiting job gets a slot of this node, which has a free one; its audio is awaited there."""
        self.waiting.remove(job)
        self.reservations.give_up(job.job_id)
        if job.is_exclusive:
            node_state.reserve_for(job.job_id)
        self.census.move(job, JobEvent.ASSIGN)
        job.node, job.incarnation, job.agent = node_state.node, node_state.incarnation, node_state.agent
        self.index.put_on_node(job)
        job.assigned_at_ms = step.now_ms
        step.record(job, What.ASSIGNED, f"assigned to {node_state.node}")
        node_state.acquire((job.job_id, job.attempt), self.expected_ms(job))
        self.waiting.charge(job, cost_ms(job), is_served=True)
        if job.spec.session:
            self.sessions.by_key[job.session_key].use(node_state.node, step.now_ms)
        step.colocated[job.client_id] = node_state.node
        self.counters.assigned += 1
        self.await_push(step, job)
        step.save(job)

    def await_push(self, step: Step, job: Job) -> None:
        """From now on the audio of an assigned job has the time that a push may take."""
        self.pushes.begin(job.job_id, job.client_id, job.audio_ms, step.now_ms)
        self._due.set(JobDue(job.job_id), self.pushes.due_at_ms(job.job_id))

    def accept(self, step: Step, job: Job, accepted_at_ms: int, audio_ms: int, audio_bytes: int) -> None:
        """The node of an assigned job has its audio, and has measured it: the job runs.

        Not saved by itself: the record says where the attempt is, its agent what it does.
        """
        self.census.move(job, JobEvent.ACCEPT)
        self.pushes.end(job.job_id)
        job.accepted_at_ms = max(accepted_at_ms, job.assigned_at_ms)
        if (more_ms := audio_ms - cost_ms(job)) > 0:
            self.waiting.charge(job, more_ms, is_served=False)
        self.census.measure(job, audio_ms)
        job.audio_bytes = audio_bytes
        step.record(job, What.ACCEPTED, f"accepted by {job.node}", job.accepted_at_ms)
        if node_state := self.node_table.by_node.get(job.node):
            node_state.record_acceptance()
        self._due.set(JobDue(job.job_id), step.now_ms + run_limit_ms(audio_ms, self.rules))

    def keep_speech(self, step: Step, job: Job, outcome: Outcome) -> None:
        """A job has run; it ends with this outcome when its submitter has fetched the speech."""
        job.speech = outcome
        step.save(job)

    def requeue(self, step: Step, job: Job) -> None:
        """The attempt is over: the job leaves its node, which the next attempt avoids, and waits again."""
        self.census.move(job, JobEvent.REQUEUE)
        self.pushes.end(job.job_id)
        self.index.take_off_node(job)
        job.excluded_node, job.node, job.agent, job.speech = job.node, "", "", None
        job.incarnation = job.assigned_at_ms = job.accepted_at_ms = 0
        job.attempt += 1
        if not job.spec.deadline_ms:
            job.deadline_at_ms = max(job.deadline_at_ms, step.now_ms + self.rules.pending_timeout_ms)
        self.counters.requeued += 1
        self._wait(step, job)

    def end(self, step: Step, job: Job, event: JobEvent, outcome: Outcome) -> None:
        """A job ends with this outcome, which is not delivered by that."""
        self._leave(job)
        self.census.move(job, event)
        job.outcome, job.speech = outcome, None
        job.ended_at_ms = step.now_ms
        step.record(job, What.ENDED, f"{job.status}: {outcome.error.message}" if outcome.error else str(job.status))
        self.ended.add(job.job_id, step.now_ms)
        self.counters.ended[job.status] += 1
        step.save(job)

    def forget(self, step: Step, job: Job) -> int:
        """A job is known no more, nor its request, nor its result. Returns the bytes of its record."""
        self._leave(job)
        self.census.leave(job)
        self.index.remove(job)
        step.forget(job.job_id)
        return self._record_bytes.pop(job.job_id, 0)

    def _leave(self, job: Job) -> None:
        """A job waits no more, nor is it on a node, nor is a time set for it."""
        self.waiting.remove(job)
        self.reservations.give_up(job.job_id)
        self.pushes.end(job.job_id)
        self.index.take_off_node(job)
        self._due.cancel(JobDue(job.job_id))

    def deliver(self, step: Step, job: Job) -> None:
        """The outcome of a job is delivered in this step."""
        job.is_delivered = True
        step.save(job)

    def adopt(self, step: Step, job: Job) -> None:
        """A job that an earlier life has saved is known again; called in the order of arrival, before any event.

        If it has not ended, its client has ``client_ttl_ms`` to come back before anything is due.
        """
        self._n_admitted += 1
        job.number = self._n_admitted
        job.correct_times(step.now_ms, max(job.spec.deadline_ms or 0, self.rules.pending_timeout_ms))
        self.index.add(job)
        self.census.enter(job)
        self._record_bytes[job.job_id] = len(to_record(job).record)
        if job.is_terminal:
            return
        self.touch_client(step, job.client_id)
        back_by_ms = step.now_ms + self.rules.client_ttl_ms
        if job.status is JobStatus.PENDING:
            self._due.set(JobDue(job.job_id), max(job.deadline_at_ms, back_by_ms))
            self.waiting.add(job)
        else:
            self._due.set(JobDue(job.job_id), back_by_ms)
            self.index.put_on_node(job)

    def record_of(self, job: Job) -> SaveJob:
        """The record of a job as it is now."""
        if job.spec.session and (session := self.sessions.by_key.get(job.session_key)):
            job.session_next_index = session.next_index
        saved = to_record(job)
        self._record_bytes[job.job_id] = len(saved.record)
        return saved

    def release(self, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """An agent has reported that an attempt holds no slot there any more; it is not ordered to stop it again."""
        if (node_state := self.node_table.by_node.get(node)) and node_state.incarnation == incarnation:
            node_state.release(attempt)
            self._due.cancel(StopDue(node, attempt))

    def stop(self, step: Step, node_state: NodeState, attempt: AttemptKey) -> None:
        """Order an agent to stop an attempt, and again as long as the attempt holds a slot there."""
        self._due.set(StopDue(node_state.node, attempt), step.now_ms + _REPEAT_STOP_MS)
        step.order(node_state.agent, node_state.incarnation, StopRun(job_id=attempt[0], attempt=attempt[1]))

    def fence(self, step: Step, job: Job) -> None:
        """The current attempt counts no more, and its node has not confirmed that it has ended."""
        job.fenced += (Fenced(job.attempt, job.node, job.incarnation),)
        self.index.add_fenced(job, job.node)
        step.save(job)

    def unfence(self, step: Step, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """A node has confirmed that an attempt has ended. If it was fenced, that is saved at once.

        For after a restart an attempt that is still fenced takes a slot until its end is confirmed.
        """
        job = self.jobs.get(attempt[0])
        if job and job.fenced and (stopped := Fenced(attempt[1], node, incarnation)) in job.fenced:
            job.fenced = tuple(fenced for fenced in job.fenced if fenced != stopped)
            if not any(fenced.node == node for fenced in job.fenced):
                self.index.remove_fenced(job, node)
            step.save(job)

    def touch_client(self, step: Step, client_id: str) -> None:
        """A client has sent a call: it is there, for ``client_ttl_ms`` from now."""
        if client_id not in self.clients:
            self._due.set(ClientDue(client_id), step.now_ms + self.rules.client_ttl_ms)
        self.clients[client_id] = step.now_ms

    def drop_client(self, step: Step, client_id: str) -> None:
        """A client is gone: it is notified of nothing more, and its sessions are forgotten as soon as they are idle."""
        del self.clients[client_id]
        for key in self.sessions.of_client(client_id):
            self._due.set(SessionDue(key), step.now_ms)
        step.drop_client(client_id)

    def open_session(self, step: Step, key: SessionKey) -> Session:
        """The session of this key; a new one if there is none."""
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions.open(key, step.now_ms)
            self._due.set(SessionDue(key), step.now_ms + self.rules.session_ttl_ms)
        return session

    def close_session(self, session: Session) -> None:
        """An idle session is forgotten. Of a client that is there its next index is remembered for a while."""
        self.sessions.close(session, is_client_there=session.key[0] in self.clients)
        self._due.cancel(SessionDue(session.key))
        self._due.cancel(GapDue(session.key))

    def await_gap(self, session: Session) -> None:
        """Set the time at which what a session misses is announced, if it holds a result back; else cancel it."""
        if (due_at_ms := session.due_at_ms) is None:
            self._due.cancel(GapDue(session.key))
        else:
            self._due.set(GapDue(session.key), due_at_ms)

    def sizes(self) -> dict[str, int]:
        """How much each index holds. All zero: nothing is left of anybody."""
        return self.index.sizes() | {
            "waiting": len(self.waiting),
            "clients": len(self.clients),
            "sessions": len(self.sessions.by_key),
            "reservations": len(self.reservations),
            "pushes": len(self.pushes),
            "ended": len(self.ended),
            "record_bytes": len(self._record_bytes),
            "due": len(self._due),
        }

    def pop_due(self, step: Step) -> list[Due]:
        """Remove and return what is due now, the earliest first."""
        return self._due.pop_due(step.now_ms)

    def postpone(self, due: Due, at_ms: int) -> None:
        """What was due is due later."""
        self._due.set(due, at_ms)
