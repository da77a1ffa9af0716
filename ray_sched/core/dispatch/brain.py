"""The Dispatcher's brain: admission, order, attempts, results, clean-up.

Facts in (``handle``), effects out. It owns the jobs; it never sees audio, Ray, Redis, a clock or a die. An event
is one step: its messages are decided one after the other; then, once, free leases are acquired for waiting jobs. All
it knows is in its ``DispatchState``. Handlers change that by its verbs, and give out what is to be done through the
``Step``: ``requests`` handles clients, ``reports`` agents, ``offers`` pools and ``timeouts`` what is due; ``assigning``
gives slots to jobs, ``attempts`` ends them and ``delivering`` delivers their outcomes.
"""

from collections.abc import Iterable
from typing import assert_never

from ray_sched.core.capability import Demand
from ray_sched.core.dispatch import assigning, delivering, offers, reports, requests, timeouts
from ray_sched.core.dispatch.decisions import Decisions
from ray_sched.core.dispatch.history import History
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.dispatch.step import Step
from ray_sched.core.effects import (
    AgentSpoke,
    AnswerClient,
    CancelAsked,
    Cleaned,
    CleanupDue,
    ClientBlocked,
    ClientPolled,
    ClientSpoke,
    DispatchEffect,
    DispatchEvent,
    DrainBegan,
    PoolClosed,
    PoolOffered,
    ReportCleanup,
    StoreCameBack,
    StoreWasEmptied,
    StoreWentAway,
    SubmitsWithdrawn,
    Swept,
)
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.policy import DEFAULT_POLICY, PlacementPolicy
from ray_sched.core.placement.question import Question
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
        self._state = state = DispatchState(epoch, rules, delivery_rules, selection_rules, policy)
        self.policy = policy
        self.history = History()
        self.decisions = Decisions()
        self.rules = rules
        self.jobs = state.jobs
        self.waiting = state.waiting
        self.node_states = state.node_table.by_node
        self.sessions = state.sessions.by_key
        self.ended = state.ended
        self.speeds = state.speeds
        self.counters = state.counters
        self.census = state.census
        self.jobs_on = state.index.on_node
        self.fenced_on = state.index.fenced_on
        self.sizes = state.sizes

    @property
    def is_draining(self) -> bool:
        """Whether no new jobs are taken."""
        return self._state.is_draining

    @property
    def ended_per_s(self) -> float:
        """Jobs ended per second, averaged over about 5 s."""
        return self._state.rate.per_s

    @property
    def n_leased(self) -> int:
        """Slots of all nodes that may be used now."""
        return self._state.node_table.n_leased

    @property
    def is_store_away(self) -> bool:
        """Whether nothing can be saved, so that no job is given to a node."""
        return self._state.is_store_away

    def question(self, job: Job, now_ms: int) -> Question:
        """What a job that waits, or might, asks of the placement policy."""
        return assigning.question(self._state, Step(now_ms, self._state.clients), job)

    def candidates(self, demand: Demand) -> Candidates:
        """The nodes that could do such a job at all."""
        return self._state.node_table.groups.candidates(demand)

    def handle(self, event: DispatchEvent, now_ms: int) -> list[DispatchEffect]:
        """Decide what follows from one fact. Returns the effects of this step: every Save, then the others in order."""
        step = Step(now_ms, self._state.clients)
        self._decide(step, event)
        assigning.acquire_leases(self._state, step)
        self.history.add(step.lines)
        self.decisions.add(step.decisions)
        return step.output(self._state.record_of)

    def restore(self, jobs: Iterable[Job], now_ms: int) -> list[DispatchEffect]:
        """Take over the jobs that an earlier life had saved, before the first event.

        Finished jobs are remembered until clean-up, waiting ones wait on. What was assigned is where its record says:
        its slot is taken again when the node is offered, and the submitter is told again when it comes back. Clients
        have ``client_ttl_ms`` to do so.
        """
        step = Step(now_ms, self._state.clients)
        known = sorted(jobs, key=lambda job: (job.created_at_ms, job.number))
        for job in known:
            self._state.adopt(step, job)
        for job in sorted((job for job in known if job.is_terminal), key=lambda job: job.ended_at_ms):
            self.ended.add(job.job_id, job.ended_at_ms)
        delivering.restore_sessions(self._state, step, known)
        return step.output(self._state.record_of)

    def _decide(self, step: Step, event: DispatchEvent) -> None:
        state = self._state
        match event:
            case ClientSpoke() | ClientPolled() | ClientBlocked() | SubmitsWithdrawn():
                self._handle_client(step, event)
            case AgentSpoke():
                for message in event.messages:
                    reports.handle(state, step, event.node, event.incarnation, message)
            case PoolOffered():
                offers.handle(state, step, event.offer)
            case PoolClosed():
                offers.lose_nodes(state, step, state.node_table.close_pool(event.pool))
            case Swept():
                timeouts.sweep(state, step)
            case CleanupDue() | CancelAsked() | DrainBegan():
                self._handle_person(step, event)
            case StoreWasEmptied() | StoreWentAway() | StoreCameBack():
                self._handle_store(step, event)
            case _:
                assert_never(event)

    def _handle_person(self, step: Step, event: CleanupDue | CancelAsked | DrainBegan) -> None:
        match event:
            case CleanupDue():
                self._clean_up(step, event.max_age_ms)
            case CancelAsked():
                for job_id in event.job_ids:
                    requests.cancel_by_operator(self._state, step, job_id)
            case DrainBegan():
                self._state.is_draining = True
            case _:
                assert_never(event)

    def _handle_client(self, step: Step, event: ClientSpoke | ClientPolled | ClientBlocked | SubmitsWithdrawn) -> None:
        client_id, state = event.client_id, self._state
        state.touch_client(step, client_id)
        match event:
            case ClientSpoke():
                requests.client_answers(state, step, client_id)
                answers = [
                    answer for message in event.messages if (answer := requests.handle(state, step, client_id, message))
                ]
                step.answer(AnswerClient(tuple(answers)))
            case ClientPolled():
                requests.client_answers(state, step, client_id)
            case ClientBlocked():
                requests.client_blocked(state, client_id)
            case SubmitsWithdrawn():
                for request_id in reversed(event.request_ids):  # a session's next index goes back to where it was
                    requests.withdraw(state, step, client_id, request_id)
            case _:
                assert_never(event)

    def _handle_store(self, step: Step, event: StoreWasEmptied | StoreWentAway | StoreCameBack) -> None:
        match event:
            case StoreWentAway():
                self._state.is_store_away = True
            case StoreCameBack():
                self._state.is_store_away = False
                for job in self.jobs.values():
                    if job.status is JobStatus.ASSIGNED:  # its submitter is notified of it now
                        self._state.await_push(step, job)
            case StoreWasEmptied():
                for job in self.jobs.values():
                    step.save(job)
                step.save_speeds(self.speeds.all())
            case _:
                assert_never(event)

    def _clean_up(self, step: Step, max_age_ms: int) -> None:
        """Forget terminal jobs that ended at least ``max_age_ms`` ago, their request ids and their results.

        Speeds are learned with every job and saved here: to lose a minute of them costs nothing.
        """
        self.speeds.forget_all_but(self.node_states)
        self.speeds.forget_overlooked()
        step.save_speeds(self.speeds.take_unsaved())
        old = self.ended.pop_older(max_age_ms, step.now_ms)
        n_bytes = sum(self._state.forget(step, self.jobs[job_id]) for job_id in old)
        self.counters.cleaned += len(old)
        self.counters.cleaned_bytes += n_bytes
        step.answer(ReportCleanup(Cleaned(jobs=len(old), record_bytes=n_bytes, kept=len(self.ended))))
