"""The Dispatcher's brain: admission, order, attempts, results, clean-up.

Facts in (``handle``), instructions out. It owns the jobs; it never sees audio, Ray, Redis, a clock or a die. The
messages of a batch are decided one after the other; then, once per turn, free leases are spent on waiting jobs. Its
parts: ``requests`` hears clients, ``reports`` agents and ``offers`` pools; ``assigning`` gives slots to jobs,
``attempts`` ends them and ``delivering`` tells their outcomes; what they share stands on the ``board``.
"""

from collections.abc import Iterable
from typing import assert_never

from ray_sched.core.dispatch.assigning import Assigning
from ray_sched.core.dispatch.attempts import Attempts
from ray_sched.core.dispatch.delivering import Delivering
from ray_sched.core.dispatch.offers import Offers
from ray_sched.core.dispatch.reports import Reports
from ray_sched.core.dispatch.requests import Requests
from ray_sched.core.dispatch.state import DispatchState, DueKey
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    Cleaned,
    CleanupDue,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    DrainBegan,
    PoolClosed,
    PoolOffered,
    ReportCleanup,
    Save,
    StoreCameBack,
    StoreWasEmptied,
    StoreWentAway,
    SubmitsTakenBack,
    Swept,
)
from ray_sched.core.errors import Code, Refusal
from ray_sched.core.job import Job, JobEvent, JobStatus, to_record
from ray_sched.core.placement.policy import DEFAULT_POLICY, PlacementPolicy
from ray_sched.core.ports import ForgetJob, SaveJob, SaveSpeeds
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules


class DispatchBrain:
    """Decides what becomes of jobs. One per cluster; its shell hands it one event at a time."""

    def __init__(
        self,
        epoch: str,
        rules: DispatchRules,
        delivery_rules: DeliveryRules,
        selection_rules: SelectionRules,
        policy: PlacementPolicy = DEFAULT_POLICY,
    ) -> None:
        self._state = state = DispatchState(rules, selection_rules)
        self._delivering = Delivering(state, delivery_rules)
        self._assigning = Assigning(state, self._delivering, policy)
        self._attempts = Attempts(state, self._assigning, self._delivering)
        self._requests = Requests(epoch, state, self._assigning, self._attempts, self._delivering)
        self._reports = Reports(state, self._attempts)
        self._offers = Offers(state, self._attempts)
        self._record_bytes: dict[str, int] = {}
        self.jobs = state.jobs
        self.waiting = state.waiting
        self.node_states = state.node_table.by_node
        self.sessions = self._delivering.sessions
        self.ended = state.ended
        self.speeds = state.speeds
        self.counters = state.counters
        self.placement = self._assigning.placement
        self.jobs_on = self._offers.jobs_on

    @property
    def is_draining(self) -> bool:
        """Whether no new jobs are taken."""
        return self._requests.is_draining

    @property
    def ended_per_s(self) -> float:
        """Jobs ended per second, averaged over about 5 s."""
        return self._state.rate.per_s

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used now."""
        return self._state.node_table.n_leased

    def handle(self, event: DispatchEvent, now_ms: int) -> list[DispatchEffect]:
        """Take one fact in and answer with what is to be done, what has to be saved first."""
        self._state.begin_step(now_ms)
        self._decide(event)
        self._assigning.acquire_leases()
        jobs = [Save(self._record(job)) for job in self._state.touched.values()]
        return [*jobs, *self._state.saves, *self._state.effects]

    def restore(self, jobs: Iterable[Job], now_ms: int) -> list[DispatchEffect]:
        """Take over the jobs that an earlier life had saved, before the first event.

        Finished jobs are remembered until clean-up, waiting ones wait on. What was assigned is where its record says:
        its slot is taken again when the node is offered, and the submitter is told again when it comes back. Clients
        have ``client_ttl_ms`` to do so.
        """
        self._state.begin_step(now_ms)
        known = sorted(jobs, key=lambda job: (job.created_at_ms, job.number))
        for number, job in enumerate(known, start=1):
            job.number = number
            self._restore_job(job)
        self._requests.number = len(known)
        for job in sorted((job for job in known if job.is_terminal), key=lambda job: job.ended_at_ms):
            self.ended.add(job.job_id, job.ended_at_ms)
        self._delivering.restore_sessions(known)
        return [Save(self._record(job)) for job in self._state.touched.values()] + self._state.effects

    def _restore_job(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self._requests.by_id[job.client_id, job.spec.request_id] = job.job_id
        self._record_bytes[job.job_id] = len(to_record(job).record)
        for fenced in job.fenced:
            self._state.fenced_on.setdefault(fenced.node, {})[job.job_id] = job
        if job.is_terminal:
            return
        self._requests.touch_client(job.client_id)
        back_by_ms = self._state.now_ms + self._state.rules.client_ttl_ms
        if job.status is JobStatus.PENDING:
            self.waiting.add(job)
            self._state.due.set(("job", job.job_id, ""), max(job.deadline_at_ms, back_by_ms))
        else:
            self._state.put_on_node(job)
            self._state.due.set(("job", job.job_id, ""), back_by_ms)

    def _decide(self, event: DispatchEvent) -> None:
        match event:
            case ClientSpoke() | ClientPolled() | SubmitsTakenBack():
                self._handle_client(event)
            case AgentSpoke():
                for message in event.messages:
                    self._reports.handle_agent(event.node, event.incarnation, message)
            case PoolOffered():
                self._offers.handle_offer(event.offer)
            case PoolClosed():
                self._offers.lose_nodes(self._state.node_table.close_pool(event.pool))
            case Swept():
                self._sweep()
            case DrainBegan():
                self._requests.is_draining = True
            case CleanupDue() | StoreWasEmptied() | StoreWentAway() | StoreCameBack():
                self._keep_store(event)
            case _:
                assert_never(event)

    def _handle_client(self, event: ClientSpoke | ClientPolled | SubmitsTakenBack) -> None:
        self._requests.touch_client(event.client_id)
        match event:
            case ClientSpoke():
                answers = [
                    answer for m in event.messages if (answer := self._requests.handle_client(event.client_id, m))
                ]
                self._state.effects.append(AnswerClient(tuple(answers)))
            case ClientPolled():
                pass
            case SubmitsTakenBack():
                self._take_back(event)
            case _:
                assert_never(event)

    def _keep_store(self, event: CleanupDue | StoreWasEmptied | StoreWentAway | StoreCameBack) -> None:
        match event:
            case StoreWentAway():
                self._state.is_store_away = True
            case StoreCameBack():
                self._state.is_store_away = False
                for job in self.jobs.values():
                    if job.status is JobStatus.ASSIGNED:  # its submitter hears of it now
                        self._assigning.await_push(job)
            case CleanupDue():
                self.speeds.forget_all_but(self.node_states)
                self._save_speeds(self.speeds.take_unsaved())
                self.cleanup_completed_jobs(event.max_age_ms)
            case StoreWasEmptied():
                self._state.touched |= self.jobs
                self._save_speeds(self.speeds.all())
            case _:
                assert_never(event)

    def _sweep(self) -> None:
        """See what is due: time-outs, gaps, clients and sessions that are gone, leases that ran out."""
        for key in self._state.due.pop_due(self._state.now_ms):
            self._is_due(key)
        for node_state in self.node_states.values():
            node_state.expire(self._state.now_ms)
        self._state.rate.measure(sum(self.counters.ended.values()), self._state.now_ms)

    def _is_due(self, key: DueKey) -> None:
        kind, name, more = key
        if kind == "job":
            job = self.jobs[name]
            if not job.is_terminal:  # it may have ended in this very sweep, with its client
                self._job_due(job)
        elif kind == "gap":
            session = self._delivering.sessions[name, more]
            self._delivering.release(session, session.delivery.announce(self._state.now_ms))
        elif kind == "client":
            self._requests.client_due(name)
        elif kind == "session":
            self._delivering.session_due((name, more))
        else:
            self._attempts.stop_due(name, more)

    def _job_due(self, job: Job) -> None:
        if self._state.is_store_away and job.status is JobStatus.ASSIGNED:
            self._assigning.await_push(job)  # its submitter may not have heard of it
        elif self._state.is_store_away and job.status is JobStatus.PENDING and not job.spec.deadline_ms:
            self._state.due.set(("job", job.job_id, ""), self._state.now_ms + self._state.rules.pending_timeout_ms)
        elif job.status is JobStatus.PENDING:
            self._attempts.end(job, JobEvent.FAIL, self._no_node(job))
        elif job.status is JobStatus.ASSIGNED:
            waited_ms = self._state.now_ms - job.assigned_at_ms
            self._attempts.requeue(job, Code.PUSH_TIMEOUT, f"the audio was not accepted in {waited_ms} ms")
        else:
            self._reports.remember(job.node, is_success=False)
            self._attempts.requeue(
                job, Code.JOB_TIMEOUT, f"not finished {self._state.now_ms - job.accepted_at_ms} ms after acceptance"
            )

    def _no_node(self, job: Job) -> Refusal:
        """The answer to a job that found no node in time, with the reason of each node."""
        why_not = self._assigning.why_no_node(job)
        for reason, n_nodes in why_not.counts.items():
            self.counters.no_node[reason] = self.counters.no_node.get(reason, 0) + n_nodes
        is_served = self._state.node_table.groups.is_served(job.demand)
        code = Code.DEADLINE_EXCEEDED if is_served and job.spec.deadline_ms else Code.NO_AVAILABLE_NODE
        waited_ms = self._state.now_ms - job.created_at_ms
        services = "+".join(job.spec.services)
        return Refusal(
            code=code, message=f"no node for {job.demand.pair} ({services}) in {waited_ms} ms: {why_not.text}"
        )

    def cleanup_completed_jobs(self, max_age_ms: int) -> None:
        """Forget terminal jobs that ended at least ``max_age_ms`` ago, their request ids and their results."""
        old = self.ended.pop_older(max_age_ms, self._state.now_ms)
        n_bytes = 0
        for job_id in old:
            n_bytes += self._forget(job_id)
        self.counters.cleaned += len(old)
        cleaned = Cleaned(jobs=len(old), record_bytes=n_bytes, kept=len(self.ended))
        self._state.effects.append(ReportCleanup(cleaned))

    def _take_back(self, event: SubmitsTakenBack) -> None:
        """In reverse, so that a session's next index goes back to where it was."""
        for request_id in reversed(event.request_ids):
            job = self._requests.take_back(event.client_id, request_id)
            if job:
                self._forget(job.job_id)

    def _forget(self, job_id: str) -> int:
        """Forget a job, its request id and its result. Returns the bytes of its record."""
        job = self.jobs.pop(job_id)
        self._state.forget(job)
        self._state.touched.pop(job_id, None)
        self._requests.by_id.pop((job.client_id, job.spec.request_id), None)
        self._state.saves.append(Save(ForgetJob(job_id=job_id)))
        return self._record_bytes.pop(job_id, 0)

    def _save_speeds(self, nodes: dict[str, dict[str, float]]) -> None:
        """Speeds are learned with every job and saved with every clean-up: to lose a minute of them costs nothing."""
        self._state.saves += [Save(SaveSpeeds(node_id=node, speeds=speeds)) for node, speeds in nodes.items()]

    def _record(self, job: Job) -> SaveJob:
        session = self._delivering.sessions.get(job.session_key) if job.spec.session else None
        if session:
            job.session_next_index = session.delivery.next_index
        saved = to_record(job)
        self._record_bytes[job.job_id] = len(saved.record)
        return saved
