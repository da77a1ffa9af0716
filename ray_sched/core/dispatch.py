"""The Dispatcher's brain: admission, order, attempts, results, clean-up.

Facts in (``handle``), instructions out. It owns the jobs; it never sees audio, Ray, Redis, a clock or a die. The
messages of a batch are decided one after the other; then, once per turn, free leases are spent on waiting jobs.
"""

from collections.abc import Callable, Iterable
from typing import assert_never

import msgspec

from ray_sched.core import admission
from ray_sched.core.capability import Demand
from ray_sched.core.cleanup import Cleaned, EndedJobs
from ray_sched.core.counters import Counters, Rate
from ray_sched.core.delivery import Deliver
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    AnswerPool,
    CleanupDue,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    DrainBegan,
    DropClient,
    Log,
    OrderAgent,
    PoolClosed,
    PoolOffered,
    ReportCleanup,
    Save,
    StoreWasEmptied,
    Swept,
    TellClient,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Fenced, Job, JobEvent, JobStatus, is_current, to_record
from ray_sched.core.messages import (
    Accepted,
    AgentMessage,
    Answer,
    Assigned,
    AttemptNote,
    AudioUnreadable,
    Cancel,
    ClientEvent,
    ClientMessage,
    Delivered,
    DropSpeech,
    JobSpec,
    LeaseReceipt,
    MissingResult,
    Outcome,
    PartialText,
    PoolOffer,
    PushFailed,
    Refused,
    RunAccepted,
    RunFailed,
    RunFinished,
    RunPartial,
    RunRefused,
    RunStopped,
    SpeechLost,
    SpeechReady,
    SpeechTaken,
    StopRun,
    Submit,
)
from ray_sched.core.ports import ForgetJob, SaveJob, SaveSpeeds
from ray_sched.core.reasons import Reason, reasons_text
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules
from ray_sched.core.seats import Lost, Seats
from ray_sched.core.selection import AttemptKey, Question, Seat, SpeedBook, select
from ray_sched.core.sessions import Release, Session, SessionKey
from ray_sched.core.timers import DueQueue
from ray_sched.core.told import assigned, delivered, speech_ready
from ray_sched.core.waiting import Waiting, cost_ms

_REPEAT_STOP_MS = 1_000
_LOOK_BEHIND = 8
"""How many jobs behind one that avoids its failed node are tried for a free slot."""
_ON_A_NODE = frozenset({JobStatus.ASSIGNED, JobStatus.PROCESSING})

DueKey = tuple[str, str, str]
"""What is due: ``("job", id, "")``, ``("gap" | "session", client, session)``, ``("client", id, "")`` or
``("stop", id, attempt)``."""


class DispatchBrain:
    """Decides what becomes of jobs. One per cluster; its shell hands it one event at a time."""

    def __init__(
        self, boot: str, rules: DispatchRules, delivery_rules: DeliveryRules, selection_rules: SelectionRules
    ) -> None:
        self._boot = boot
        self._rules = rules
        self._delivery_rules = delivery_rules
        self._selection_rules = selection_rules
        self.jobs: dict[str, Job] = {}
        self.waiting = Waiting(self._somebody_stands)
        self._seats = Seats(self.waiting.turn, self.waiting.demands)
        self.seats = self._seats.by_node
        self.sessions: dict[SessionKey, Session] = {}
        self.ended = EndedJobs()
        self.speeds = SpeedBook(selection_rules)
        self.counters = Counters()
        self.is_draining = False
        self._rate = Rate()
        self._requests: dict[tuple[str, str], str] = {}
        self._clients: dict[str, int] = {}
        self._record_bytes: dict[str, int] = {}
        self._due: DueQueue[DueKey] = DueQueue()
        self._stopping: dict[AttemptKey, str] = {}
        self._number = 0
        self._now_ms = 0
        self._reasons: dict[tuple[Demand, str], dict[str, Reason]] = {}
        self._arrival: Job | None = None
        """A job that has begun to wait in this turn, while nobody else waits."""
        self._effects: list[DispatchEffect] = []
        self._saves: list[Save] = []
        self._touched: dict[str, Job] = {}

    @property
    def ended_per_s(self) -> float:
        """Jobs ended per second, averaged over about 5 s."""
        return self._rate.per_s

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used now."""
        return self._seats.n_leased

    # --- turns -----------------------------------------------------------------------------------------------------

    def handle(self, event: DispatchEvent, now_ms: int) -> list[DispatchEffect]:
        """Take one fact in and answer with what is to be done, what has to be saved first."""
        self._now_ms = now_ms
        self._effects, self._saves, self._touched = [], [], {}
        if self._reasons:
            self._reasons = {}
        self._decide(event)
        self._spend_leases()
        jobs = [Save(self._record(job)) for job in self._touched.values()]
        return [*jobs, *self._saves, *self._effects]

    def restore(self, jobs: Iterable[Job], now_ms: int) -> list[DispatchEffect]:
        """Take over the jobs that an earlier life had saved, before the first event.

        Finished jobs are remembered until clean-up, waiting ones wait on. What was assigned is where its record says:
        its slot is taken again when the node is offered, and the submitter is told again when it comes back. Clients
        have ``client_ttl_ms`` to do so.
        """
        self._now_ms = now_ms
        self._effects, self._saves, self._touched = [], [], {}
        known = sorted(jobs, key=lambda job: (job.created_at_ms, job.number))
        for number, job in enumerate(known, start=1):
            job.number = number
            self._restore_job(job)
        self._number = len(known)
        for job in sorted((job for job in known if job.is_terminal), key=lambda job: job.ended_at_ms):
            self.ended.add(job.job_id, job.ended_at_ms)
        self._restore_sessions(known)
        return [Save(self._record(job)) for job in self._touched.values()] + self._effects

    def _restore_job(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self._requests[job.client_id, job.spec.request_id] = job.job_id
        self._record_bytes[job.job_id] = len(to_record(job).record)
        if job.is_terminal:
            return
        self._see_client(job.client_id)
        if job.status is JobStatus.PENDING:
            self.waiting.add(job)
            self._due.set(("job", job.job_id, ""), max(job.deadline_at_ms, self._now_ms + self._rules.client_ttl_ms))
        else:
            self._due.set(("job", job.job_id, ""), self._now_ms + self._rules.client_ttl_ms)

    def _restore_sessions(self, jobs: list[Job]) -> None:
        """Each session goes on where it was: what was delivered stays so, what was held is held or delivered."""
        by_session: dict[SessionKey, list[Job]] = {}
        for job in jobs:
            if job.spec.session:
                by_session.setdefault(job.session_key, []).append(job)
        for key, members in by_session.items():
            session = self._session(*key)
            session.resume(members)
            for job in members:
                if job.is_terminal and not job.is_delivered:
                    self._deliver(job)

    def _decide(self, event: DispatchEvent) -> None:
        match event:
            case ClientSpoke():
                self._see_client(event.client_id)
                answers = [answer for m in event.messages if (answer := self._hear_client(event.client_id, m))]
                self._effects.append(AnswerClient(tuple(answers)))
            case ClientPolled():
                self._see_client(event.client_id)
            case AgentSpoke():
                for message in event.messages:
                    self._hear_agent(event.node, event.incarnation, message)
            case PoolOffered():
                self._take_offer(event.offer)
            case PoolClosed():
                self._lose_seats(self._seats.close_pool(event.pool))
            case Swept():
                self._sweep()
            case DrainBegan():
                self.is_draining = True
            case CleanupDue() | StoreWasEmptied():
                self._keep_store(event)
            case _:
                assert_never(event)

    def _keep_store(self, event: CleanupDue | StoreWasEmptied) -> None:
        match event:
            case CleanupDue():
                self._save_speeds(self.speeds.take_unsaved())
                self.speeds.forget_all_but(self.seats)
                self.cleanup_completed_jobs(event.max_age_ms)
            case StoreWasEmptied():
                self._touched |= self.jobs
                self._save_speeds(self.speeds.all())
            case _:
                assert_never(event)

    # --- clients ---------------------------------------------------------------------------------------------------

    def _see_client(self, client_id: str) -> None:
        if client_id not in self._clients:
            self._due.set(("client", client_id, ""), self._now_ms + self._rules.client_ttl_ms)
        self._clients[client_id] = self._now_ms

    def _hear_client(self, client_id: str, message: ClientMessage) -> Answer | None:
        match message:
            case Submit():
                return self._submit(client_id, message.spec)
            case Cancel():
                return self._cancel(client_id, message.job_id)
            case PushFailed():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.ASSIGNED, self._push_failed(message)
                )
            case AudioUnreadable():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.ASSIGNED, self._unreadable(message)
                )
            case SpeechTaken():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.PROCESSING, self._speech_taken
                )
            case SpeechLost():
                self._about_attempt(
                    client_id, message.job_id, message.attempt, JobStatus.PROCESSING, self._speech_lost(message)
                )
            case _:
                assert_never(message)
        return None

    def _about_attempt(
        self, client_id: str, job_id: str, attempt: int, status: JobStatus, then: Callable[[Job], None]
    ) -> None:
        """Do it if the client owns the job and the attempt still counts; else count it as late."""
        job = self.jobs.get(job_id)
        if job and job.client_id == client_id and job.attempt == attempt and job.status is status:
            then(job)
        else:
            self.counters.late_messages += 1

    def _submit(self, client_id: str, spec: JobSpec) -> Answer:
        known = self.jobs.get(self._requests.get((client_id, spec.request_id), ""))
        if known:
            return self._repeat(known, spec)
        refusal = self._refusal(client_id, spec)
        if refusal:
            self.counters.rejected[refusal.code] = self.counters.rejected.get(refusal.code, 0) + 1
            return Refused(refusal=refusal)
        session = self._session(client_id, spec.session) if spec.session else None
        index = session.claim(spec.utterance_index) if session else None
        if session and index is None:
            return Refused(refusal=admission.index_taken(spec))
        job = self._admit(client_id, spec, index)
        if session and index is not None:
            session.open_indexes[index] = job.job_id
        return Accepted(job_id=job.job_id, utterance_index=index)

    def _refusal(self, client_id: str, spec: JobSpec) -> Refusal | None:
        self._queue_arrival()
        if self.is_draining:
            return Refusal(code=Code.SHUTTING_DOWN, message="the scheduler is shutting down and takes no new jobs")
        return admission.invalid(spec) or admission.overloaded(
            len(self.waiting),
            *self.waiting.shares.waiting(spec.tenant, (client_id, spec.session)),
            spec,
            self._rules,
            self.ended_per_s,
        )

    def _repeat(self, job: Job, spec: JobSpec) -> Answer:
        """The same request id again: the same job back, and its outcome again if it was delivered."""
        if not admission.is_same_content(job, spec):
            return Refused(refusal=admission.other_content(job))
        self.counters.duplicates += 1
        if job.is_delivered:
            self._tell(job, delivered(job))
        elif job.status is JobStatus.ASSIGNED:
            self._tell(job, assigned(job))
        elif job.speech:
            self._tell(job, speech_ready(job, job.speech))
        return Accepted(job_id=job.job_id, is_duplicate=True, utterance_index=job.utterance_index)

    def _admit(self, client_id: str, spec: JobSpec, index: int | None) -> Job:
        self._number += 1
        job = Job(
            job_id=f"{self._boot}-{self._number}",
            client_id=client_id,
            spec=spec,
            utterance_index=index,
            created_at_ms=self._now_ms,
            number=self._number,
            audio_ms=spec.audio_ms,
            deadline_at_ms=self._now_ms + (spec.deadline_ms or self._rules.pending_timeout_ms),
        )
        job.tell(self._now_ms, "submitted")
        self.jobs[job.job_id] = job
        self._requests[client_id, spec.request_id] = job.job_id
        self.counters.submitted += 1
        self._wait(job)
        return job

    def _cancel(self, client_id: str, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if not job or job.client_id != client_id:
            return Refused(refusal=Refusal(code=Code.UNKNOWN_JOB, message=f"there is no job {job_id} of this client"))
        if not job.is_terminal:
            self._stop_attempt(job)
            self._end(job, JobEvent.CANCEL, Refusal(code=Code.CANCELLED, message="cancelled by its submitter"))
        return Accepted(job_id=job_id, utterance_index=job.utterance_index)

    def _push_failed(self, message: PushFailed) -> Callable[[Job], None]:
        return lambda job: self._requeue(job, Code.PUSH_FAILED, message.why)

    def _unreadable(self, message: AudioUnreadable) -> Callable[[Job], None]:
        def fail(job: Job) -> None:
            self._stop_attempt(job)
            self._end(job, JobEvent.FAIL, message.refusal)

        return fail

    def _speech_taken(self, job: Job) -> None:
        if job.speech:
            self._order(job, DropSpeech(job_id=job.job_id, attempt=job.attempt))
            self._finish(job, job.speech)

    def _speech_lost(self, message: SpeechLost) -> Callable[[Job], None]:
        return lambda job: self._requeue(job, Code.NODE_LOST, f"speech lost: {message.why}") if job.speech else None

    def _client_gone(self, client_id: str) -> None:
        """A client has not polled for too long: its waiting jobs end; what runs goes on."""
        del self._clients[client_id]
        refusal = Refusal(code=Code.CLIENT_GONE, message="the client that holds the audio has not been heard of")
        gone = self.waiting.of_client(client_id)
        for job in gone:
            self._end(job, JobEvent.CANCEL, refusal)
        for key in [key for key in self.sessions if key[0] == client_id]:
            self._due.set(("session", *key), self._now_ms)
        self._effects.append(DropClient(client_id))
        self._effects.append(Log(f"a client is gone; {len(gone)} waiting jobs cancelled"))

    # --- waiting and assignment ------------------------------------------------------------------------------------

    def _wait(self, job: Job) -> None:
        """A job looks for a slot. One that is alone is not put in a queue before it has found none."""
        self._touched[job.job_id] = job
        self._due.set(("job", job.job_id, ""), job.deadline_at_ms)
        if self._arrival is None and not len(self.waiting):
            self._arrival = job
        else:
            self._queue_arrival()
            self.waiting.add(job)

    def _queue_arrival(self) -> None:
        if self._arrival is not None:
            self.waiting.add(self._arrival)
            self._arrival = None

    def _somebody_stands(self, demand: Demand) -> None:
        self._seats.groups.want(demand)

    def _spend_leases(self) -> None:
        """Give free slots to waiting jobs, whose turn it is first, until slots or takers run out."""
        groups = self._seats.groups
        if self._arrival is not None:
            job, seat = self._arrival, groups.pick(self.question(self._arrival))
            if seat:
                self._arrival = None
                self._assign(job, seat)
            self._queue_arrival()
        if not len(self.waiting):
            return
        aside = []
        while (demand := groups.next_demand()) is not None:
            if not self._assign_next(demand):
                groups.set_aside(demand)
                aside.append(demand)
        for demand in aside:
            groups.want(demand)

    def _assign_next(self, demand: Demand) -> bool:
        """Assign the next job of a demand; where its failed node keeps it waiting, one behind it."""
        aside: list[Job] = []
        seat = None
        while (job := self.waiting.first(demand)) is not None:
            seat = self._seats.groups.pick(self.question(job))
            if seat:
                self._assign(job, seat)
                break
            if not job.excluded_node or len(aside) == _LOOK_BEHIND:
                break
            self.waiting.step_aside(job)
            aside.append(job)
        for passed in aside:
            self.waiting.step_back(passed)
        return seat is not None

    def question(self, job: Job) -> Question:
        """The job as selection sees it."""
        session = self.sessions.get(job.session_key)
        return Question(
            demand=job.demand,
            pair=job.demand.pair,
            audio_ms=self._expected_ms(job),
            now_ms=self._now_ms,
            rules=self._selection_rules,
            speeds=self.speeds,
            tie_key=f"{job.job_id}/{job.attempt}",
            excluded_node=job.excluded_node,
            affine_node=session.affine_node(self._now_ms, self._selection_rules.affinity_ttl_ms) if session else "",
        )

    def _assign(self, job: Job, seat: Seat) -> None:
        self.waiting.remove(job)
        job.move(JobEvent.ASSIGN)
        job.node, job.incarnation, job.agent = seat.node, seat.incarnation, seat.agent
        job.assigned_at_ms = self._now_ms
        job.tell(self._now_ms, f"assigned to {seat.node}")
        seat.spend((job.job_id, job.attempt), self._expected_ms(job))
        self.waiting.shares.charge(job.spec.tenant, job.session_key, cost_ms(job), is_served=True)
        if job.spec.session:
            self._session(job.client_id, job.spec.session).use(seat.node, self._now_ms)
        self.counters.assigned += 1
        limit_ms = self._rules.push_timeout_ms + job.audio_ms * self._rules.push_ms_per_audio_s // 1000
        self._due.set(("job", job.job_id, ""), self._now_ms + limit_ms)
        self._touched[job.job_id] = job
        self._tell(job, assigned(job))

    # --- agents ----------------------------------------------------------------------------------------------------

    def _hear_agent(self, node: str, incarnation: int, message: AgentMessage) -> None:
        job = self.jobs.get(message.job_id)
        is_over = not isinstance(message, RunAccepted | RunPartial)
        if is_over:
            self._give_back(node, incarnation, (message.job_id, message.attempt))
        if job is not None and is_current(job, message.attempt, node, incarnation):
            self._hear_current(job, message)
        else:
            self._hear_late(node, incarnation, message)
        if is_over:
            self._unfence(node, incarnation, (message.job_id, message.attempt))

    def _hear_current(self, job: Job, message: AgentMessage) -> None:
        match message:
            case RunAccepted():
                self._run_accepted(job, message)
            case RunRefused():
                self._run_refused(job, message)
            case RunPartial():
                if job.spec.wants_partials:
                    self._tell(job, PartialText(job_id=job.job_id, attempt=job.attempt, text=message.text))
            case RunFinished():
                self._run_finished(job, message)
            case RunFailed():
                self._run_failed(job, message)
            case RunStopped():
                self._requeue(job, Code.NODE_LOST, "the node no longer has it")
            case _:
                assert_never(message)

    def _hear_late(self, node: str, incarnation: int, message: AgentMessage) -> None:
        """A message of a fenced attempt changes no job; what still runs or waits there is told to stop."""
        self.counters.late_messages += 1
        seat = self.seats.get(node)
        if seat is None or seat.incarnation != incarnation:
            return
        if isinstance(message, RunAccepted):
            self._stop(seat.agent, incarnation, message.job_id, message.attempt)
        elif isinstance(message, RunFinished) and message.speech_bytes and not self._awaits_speech(message):
            order = DropSpeech(job_id=message.job_id, attempt=message.attempt)
            self._effects.append(OrderAgent(seat.agent, incarnation, order))

    def _awaits_speech(self, message: RunFinished) -> bool:
        job = self.jobs.get(message.job_id)
        return job is not None and job.attempt == message.attempt and job.speech is not None

    def _run_accepted(self, job: Job, message: RunAccepted) -> None:
        """The node has the audio. Not saved by itself: the record says where the attempt is, its agent what it does."""
        if job.status is not JobStatus.ASSIGNED:
            return
        job.move(JobEvent.ACCEPT)
        job.accepted_at_ms = max(self._now_ms - message.age_ms, job.assigned_at_ms)
        more_ms = message.audio_ms - cost_ms(job)
        if more_ms > 0:
            self.waiting.shares.charge(job.spec.tenant, job.session_key, more_ms, is_served=False)
        job.audio_ms, job.audio_bytes = message.audio_ms, message.audio_bytes
        job.tell(job.accepted_at_ms, f"accepted by {job.node}")
        seat = self.seats.get(job.node)
        if seat:
            seat.has_accepted()
        limit_ms = max(self._rules.run_timeout_ms, int(self._rules.run_timeout_factor * job.audio_ms))
        self._due.set(("job", job.job_id, ""), self._now_ms + limit_ms)

    def _run_refused(self, job: Job, message: RunRefused) -> None:
        if job.speech:  # pushed once more by a client that was told twice; it has run
            return
        self.counters.refused += 1
        seat = self.seats.get(job.node)
        if seat:
            seat.rest_after_refusal(self._now_ms, self._selection_rules)
        self._requeue(job, Code.NODE_REFUSED, message.why)

    def _run_finished(self, job: Job, message: RunFinished) -> None:
        if job.speech:
            return
        if job.status is JobStatus.ASSIGNED:
            self._run_accepted(
                job,
                RunAccepted(job_id=job.job_id, attempt=job.attempt, audio_ms=job.audio_ms, audio_bytes=job.audio_bytes),
            )
        self._remember(job.node, is_success=True)
        self.speeds.learn(job.node, job.demand.pair, job.audio_ms, message.run_ms)
        outcome = self._outcome(
            job,
            JobStatus.COMPLETED if message.text else JobStatus.COMPLETED_NO_TEXT,
            text=message.text,
            translation=message.translation,
            speech_bytes=message.speech_bytes,
            speech_rate_hz=message.speech_rate_hz,
            run_ms=message.run_ms,
        )
        if message.speech_bytes:
            job.speech = outcome
            job.tell(self._now_ms, f"ran {message.run_ms} ms on {job.node}; speech waits to be fetched")
            self._touched[job.job_id] = job
            self._tell(job, speech_ready(job, outcome))
        else:
            job.tell(self._now_ms, f"ran {message.run_ms} ms on {job.node}")
            self._finish(job, outcome)

    def _run_failed(self, job: Job, message: RunFailed) -> None:
        if message.code is Code.MODEL_NOT_AVAILABLE:
            seat = self.seats.get(job.node)
            if seat:
                until_ms = self._now_ms + self._selection_rules.unavailable_ms
                seat.unavailable_until_ms[message.service] = until_ms
            self._effects.append(Log(f"{job.node}: no model for {message.service}: {message.why}"))
        else:
            self._remember(job.node, is_success=False)
        self._requeue(job, message.code, message.why)

    def _remember(self, node: str, *, is_success: bool) -> None:
        seat = self.seats.get(node)
        if seat and seat.remember(is_success=is_success, now_ms=self._now_ms, rules=self._selection_rules):
            self._effects.append(Log(f"{node} failed too often and rests for {self._selection_rules.quarantine_ms} ms"))

    # --- attempts end, jobs end ------------------------------------------------------------------------------------

    def _give_back(self, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """The agent says that an attempt holds no slot there any more."""
        seat = self.seats.get(node)
        if seat and seat.incarnation == incarnation:
            seat.give_back(attempt)
            if self._stopping.pop(attempt, None) is not None:
                self._due.cancel(("stop", attempt[0], str(attempt[1])))

    def _unfence(self, node: str, incarnation: int, attempt: AttemptKey) -> None:
        """Saved at once: after a restart an attempt that is still fenced takes a slot until it is confirmed."""
        job = self.jobs.get(attempt[0])
        stopped = Fenced(attempt[1], node, incarnation)
        if job and stopped in job.fenced:
            job.fenced = [fenced for fenced in job.fenced if fenced != stopped]
            self._touched[job.job_id] = job

    def _stop_attempt(self, job: Job) -> None:
        """Make sure that the current attempt ends on its node; until the agent confirms, its slot stays taken."""
        if job.status is JobStatus.PENDING:
            return
        if job.speech:
            self._order(job, DropSpeech(job_id=job.job_id, attempt=job.attempt))
            return
        seat = self.seats.get(job.node)
        if seat is None:  # not offered yet, or not any more: if it ever is, the attempt is stopped then
            job.fenced.append(Fenced(job.attempt, job.node, job.incarnation))
        elif seat.incarnation == job.incarnation and (job.job_id, job.attempt) in seat.attempts():
            job.fenced.append(Fenced(job.attempt, job.node, job.incarnation))
            self._stop(job.agent, job.incarnation, job.job_id, job.attempt)

    def _stop(self, agent: str, incarnation: int, job_id: str, attempt: int) -> None:
        self._stopping[job_id, attempt] = agent
        self._due.set(("stop", job_id, str(attempt)), self._now_ms + _REPEAT_STOP_MS)
        self._effects.append(OrderAgent(agent, incarnation, StopRun(job_id=job_id, attempt=attempt)))

    def _order(self, job: Job, order: StopRun | DropSpeech) -> None:
        self._effects.append(OrderAgent(job.agent, job.incarnation, order))

    def _requeue(self, job: Job, code: Code, why: str) -> None:
        """End this attempt; the next one may begin elsewhere, unless there were enough."""
        self._stop_attempt(job)
        job.attempts.append(AttemptNote(attempt=job.attempt, node=job.node, why=f"{code}: {why}"))
        job.tell(self._now_ms, f"back to pending: {why}")
        if code is Code.NODE_REFUSED:
            job.refusals += 1
        else:
            job.failovers += 1
        if code is Code.ENGINE_FAILED:
            job.engine_errors += 1
        refusal = self._enough(job, code, why)
        if refusal:
            self._end(job, JobEvent.FAIL, refusal)
            return
        job.move(JobEvent.REQUEUE)
        job.excluded_node = job.node
        job.node = job.agent = ""
        job.incarnation = job.assigned_at_ms = job.accepted_at_ms = 0
        job.speech = None
        job.attempt += 1
        job.deadline_at_ms = max(job.deadline_at_ms, self._now_ms + self._rules.pending_timeout_ms)
        self.counters.requeued += 1
        self._wait(job)

    def _enough(self, job: Job, code: Code, why: str) -> Refusal | None:
        """Why there is no further attempt, or None."""
        if job.client_id not in self._clients:
            return Refusal(code=Code.CLIENT_GONE, message=f"{why}; the client that holds the audio is gone")
        is_over = (
            job.failovers > self._rules.max_failovers
            or job.refusals > self._rules.max_refusals
            or job.engine_errors > self._rules.max_engine_retries
        )
        if not is_over:
            return None
        told = "; ".join(f"attempt {note.attempt} on {note.node}: {note.why}" for note in job.attempts[-5:])
        return Refusal(code=code, message=f"gave up after {len(job.attempts)} attempts: {told}")

    def _finish(self, job: Job, outcome: Outcome) -> None:
        event = JobEvent.FINISH if outcome.text else JobEvent.FINISH_EMPTY
        self._close(job, event, outcome)

    def _end(self, job: Job, event: JobEvent, refusal: Refusal) -> None:
        """The job ends without a result."""
        status = JobStatus.CANCELLED if event is JobEvent.CANCEL else JobStatus.FAILED
        self._close(job, event, self._outcome(job, status, error=refusal))

    def _close(self, job: Job, event: JobEvent, outcome: Outcome) -> None:
        self._queue_arrival()
        self.waiting.remove(job)
        job.move(event)
        job.outcome = outcome
        job.speech = None
        job.ended_at_ms = self._now_ms
        job.tell(self._now_ms, f"{job.status}: {outcome.error.message}" if outcome.error else f"{job.status}")
        self._due.cancel(("job", job.job_id, ""))
        self.ended.add(job.job_id, self._now_ms)
        self.counters.ended[job.status] = self.counters.ended.get(job.status, 0) + 1
        self._touched[job.job_id] = job
        self._deliver(job)

    def _outcome(self, job: Job, status: JobStatus, **result: object) -> Outcome:
        began_at_ms = job.accepted_at_ms or self._now_ms
        facts: dict[str, object] = {
            "status": str(status),
            "node": job.node,
            "attempt": job.attempt,
            "audio_ms": job.audio_ms,
            "wait_ms": began_at_ms - job.created_at_ms,
            "attempts": tuple(job.attempts),
        }
        return msgspec.convert(facts | result, Outcome)

    # --- delivery --------------------------------------------------------------------------------------------------

    def _session(self, client_id: str, name: str) -> Session:
        key = (client_id, name)
        if key not in self.sessions:
            self.sessions[key] = Session(key, self._delivery_rules.gap_wait_ms)
            self._due.set(("session", *key), self._now_ms + self._rules.session_ttl_ms)
            self.sessions[key].last_used_ms = self._now_ms
        return self.sessions[key]

    def _deliver(self, job: Job) -> None:
        """Deliver the outcome now, or when its turn in the session comes."""
        if job.utterance_index is None:
            job.is_delivered = True
            self._tell(job, delivered(job))
            return
        session = self._session(job.client_id, job.spec.session)
        session.open_indexes.pop(job.utterance_index, None)
        self._release(session, session.delivery.ready(job.utterance_index, delivered(job), self._now_ms))

    def _release(self, session: Session, released: Iterable[Release]) -> None:
        client_id, name = session.key
        for what in released:
            if isinstance(what, Deliver):
                self._mark_delivered(what.item.job_id)
                self.counters.late_results += what.is_late
                event = msgspec.structs.replace(what.item, is_late=what.is_late)
                self._post(client_id, event)
            else:
                self.counters.gaps += 1
                missing = MissingResult(
                    session=name, first_index=what.first, last_index=what.last, why=session.why_missing(what)
                )
                self._post(client_id, missing)
        due_at_ms = session.delivery.due_at_ms
        if due_at_ms is None:
            self._due.cancel(("gap", *session.key))
        else:
            self._due.set(("gap", *session.key), due_at_ms)

    def _mark_delivered(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job:
            job.is_delivered = True
            self._touched[job_id] = job

    def _tell(self, job: Job, event: Assigned | PartialText | SpeechReady | Delivered) -> None:
        self._post(job.client_id, event)

    def _post(self, client_id: str, event: ClientEvent) -> None:
        """Tell a client that is there; one that comes back asks again for what it misses."""
        if client_id in self._clients:
            self._effects.append(TellClient(client_id, event))

    # --- leases ----------------------------------------------------------------------------------------------------

    def _take_offer(self, offer: PoolOffer) -> None:
        """Take over what a pool says of its nodes."""
        lost, new = self._seats.take(offer, self._now_ms)
        self._lose_seats(lost)
        for seat in new:
            self._reclaim(seat)
        spent = {seat.node: seat.n_spent for seat in self._seats.of_pool(offer.pool)}
        self._effects.append(AnswerPool(LeaseReceipt(spent=spent)))

    def _reclaim(self, seat: Seat) -> None:
        """Attempts that an earlier life of the Dispatcher put on this node hold a slot there, or are lost with it."""
        for job in self.jobs_on(seat.node):
            if job.incarnation == seat.incarnation and job.speech:
                continue
            if job.incarnation == seat.incarnation and seat.reclaim((job.job_id, job.attempt), self._expected_ms(job)):
                job.agent = seat.agent
            else:
                self._requeue(job, Code.NODE_LOST, "the node came back as a new incarnation")
        for job in self.jobs.values():
            for fenced in job.fenced:
                attempt = (job.job_id, fenced.attempt)
                if (fenced.node, fenced.incarnation) == (seat.node, seat.incarnation):
                    if attempt not in seat.attempts():
                        seat.reclaim(attempt, self._expected_ms(job))
                    self._stop(seat.agent, seat.incarnation, *attempt)

    def _expected_ms(self, job: Job) -> int:
        return job.audio_ms or self._selection_rules.assumed_audio_ms

    def _lose_seats(self, lost: Iterable[Lost]) -> None:
        for seat, why in lost:
            self._lose_seat(seat, why)

    def _lose_seat(self, seat: Seat, why: str) -> None:
        """A node is lost: everything on it goes back to pending."""
        for attempt in seat.attempts():
            self._stopping.pop(attempt, None)
            self._due.cancel(("stop", attempt[0], str(attempt[1])))
        lost = [job for job in self.jobs_on(seat.node) if job.incarnation == seat.incarnation]
        for job in lost:
            self._requeue(job, Code.NODE_LOST, why)
        if lost:
            self._effects.append(Log(f"{seat.node}: {why}; {len(lost)} jobs back to pending"))

    def jobs_on(self, node: str) -> list[Job]:
        """Jobs assigned to a node, running there, or with speech there."""
        return [job for job in self.jobs.values() if job.node == node and job.status in _ON_A_NODE]

    # --- time ------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """See what is due: time-outs, gaps, clients and sessions that are gone, leases that ran out."""
        for key in self._due.pop_due(self._now_ms):
            self._is_due(key)
        for seat in self.seats.values():
            seat.expire(self._now_ms)
        self._rate.measure(sum(self.counters.ended.values()), self._now_ms)

    def _is_due(self, key: DueKey) -> None:
        kind, name, more = key
        if kind == "job":
            job = self.jobs[name]
            if not job.is_terminal:  # it may have ended in this very sweep, with its client
                self._job_due(job)
        elif kind == "gap":
            session = self.sessions[name, more]
            self._release(session, session.delivery.announce(self._now_ms))
        elif kind == "client":
            self._client_due(name)
        elif kind == "session":
            self._session_due((name, more))
        else:
            self._stop_due((name, int(more)))

    def _job_due(self, job: Job) -> None:
        if job.status is JobStatus.PENDING:
            self._end(job, JobEvent.FAIL, self._no_node(job))
        elif job.status is JobStatus.ASSIGNED:
            waited_ms = self._now_ms - job.assigned_at_ms
            self._requeue(job, Code.PUSH_TIMEOUT, f"the audio was not accepted in {waited_ms} ms")
        else:
            self._remember(job.node, is_success=False)
            self._requeue(
                job, Code.JOB_TIMEOUT, f"not finished {self._now_ms - job.accepted_at_ms} ms after acceptance"
            )

    def _no_node(self, job: Job) -> Refusal:
        """The answer to a job that found no node in time, with the reason of each node."""
        reasons = self._why_no_node(job)
        for reason in reasons.values():
            self.counters.no_node[reason] = self.counters.no_node.get(reason, 0) + 1
        is_served = bool(self._seats.groups.able(job.demand))
        code = Code.DEADLINE_EXCEEDED if is_served and job.spec.deadline_ms else Code.NO_AVAILABLE_NODE
        waited_ms = self._now_ms - job.created_at_ms
        told = reasons_text(reasons) if reasons else ("others were first" if self.seats else "there is no node at all")
        services = "+".join(job.spec.services)
        return Refusal(code=code, message=f"no node for {job.demand.pair} ({services}) in {waited_ms} ms: {told}")

    def _why_no_node(self, job: Job) -> dict[str, Reason]:
        """The reason of each node, found once a turn for all that ask the same: many may run out of time at once."""
        key = (job.demand, job.excluded_node)
        if key not in self._reasons:
            self._reasons[key] = select(self.seats.values(), self.question(job))[1]
        return self._reasons[key]

    def _client_due(self, client_id: str) -> None:
        gone_at_ms = self._clients[client_id] + self._rules.client_ttl_ms
        if self._now_ms >= gone_at_ms:
            self._client_gone(client_id)
        else:
            self._due.set(("client", client_id, ""), gone_at_ms)

    def _session_due(self, key: SessionKey) -> None:
        session = self.sessions[key]
        is_client_gone = key[0] not in self._clients
        gone_at_ms = session.last_used_ms + self._rules.session_ttl_ms
        if session.is_idle and (is_client_gone or self._now_ms >= gone_at_ms):
            del self.sessions[key]
        else:
            soon_ms = self._now_ms + self._rules.client_ttl_ms
            self._due.set(("session", *key), soon_ms if is_client_gone else max(gone_at_ms, soon_ms))

    def _stop_due(self, attempt: AttemptKey) -> None:
        """An agent has not confirmed that it stopped an attempt: tell it again, as long as the node is there."""
        agent = self._stopping.pop(attempt, "")
        seat = next((seat for seat in self.seats.values() if seat.agent == agent), None)
        if seat and attempt in seat.attempts():
            self._stop(agent, seat.incarnation, *attempt)

    # --- clean-up --------------------------------------------------------------------------------------------------

    def cleanup_completed_jobs(self, max_age_ms: int) -> None:
        """Forget terminal jobs that ended at least ``max_age_ms`` ago, their request ids and their results."""
        old = self.ended.pop_older(max_age_ms, self._now_ms)
        n_bytes = 0
        for job_id in old:
            job = self.jobs.pop(job_id)
            self._touched.pop(job_id, None)
            n_bytes += self._record_bytes.pop(job_id, 0)
            self._requests.pop((job.client_id, job.spec.request_id), None)
            self._saves.append(Save(ForgetJob(job_id=job_id)))
        self.counters.cleaned += len(old)
        self._effects.append(ReportCleanup(Cleaned(jobs=len(old), record_bytes=n_bytes, kept=len(self.ended))))

    def _save_speeds(self, nodes: dict[str, dict[str, float]]) -> None:
        """Speeds are learned with every job and saved with every clean-up: to lose a minute of them costs nothing."""
        self._saves += [Save(SaveSpeeds(node_id=node, speeds=speeds)) for node, speeds in nodes.items()]

    def _record(self, job: Job) -> SaveJob:
        session = self.sessions.get(job.session_key) if job.spec.session else None
        if session:
            job.session_next_index = session.delivery.next_index
        saved = to_record(job)
        self._record_bytes[job.job_id] = len(saved.record)
        return saved
