"""Assigning: jobs wait for a slot, and free slots are spent on them, whose turn it is first."""

from collections import Counter
from typing import NamedTuple

from ray_sched.core.capability import Demand
from ray_sched.core.dispatch.client_events import assigned
from ray_sched.core.dispatch.delivering import Delivering
from ray_sched.core.dispatch.state import DispatchState
from ray_sched.core.job import Job, JobEvent
from ray_sched.core.placement.node_state import NodeState
from ray_sched.core.placement.policy import Placement, PlacementPolicy
from ray_sched.core.placement.question import Question
from ray_sched.core.queue.waiting import cost_ms
from ray_sched.core.reasons import Reason, reasons_text

_LOOK_BEHIND = 16
"""How many jobs that avoid their failed node or have to run alone may be passed by one behind them."""


class WhyNot(NamedTuple):
    """Why there is no node for a job."""

    counts: Counter[Reason]
    text: str


class Assigning:
    """Brings waiting jobs and free slots together."""

    def __init__(self, state: DispatchState, delivering: Delivering, policy: PlacementPolicy) -> None:
        self._state = state
        self._delivering = delivering
        self._policy = policy
        self._why_not: dict[tuple[Demand, str, bool], WhyNot] = {}
        self._reserved: dict[str, NodeState] = {}
        """Nodes that become empty for a job that has to run alone, by job."""
        self._colocated: dict[str, str] = {}
        """Where the newest job of each client went in this turn."""
        self._arrival: Job | None = None
        """A job that has begun to wait in this turn, while nobody else waits."""

    def wait(self, job: Job) -> None:
        """A job looks for a slot. One that is alone is not put in a queue before it has found none."""
        self._state.touched[job.job_id] = job
        self._state.due.set(("job", job.job_id, ""), job.deadline_at_ms)
        if self._arrival is None and not len(self._state.waiting):
            self._arrival = job
        else:
            self.queue_arrival()
            self._state.waiting.add(job)

    def queue_arrival(self) -> None:
        """It has found none, or may not find one before others have been seen."""
        if self._arrival is not None:
            self._state.waiting.add(self._arrival)
            self._arrival = None

    def give_up(self, job: Job) -> None:
        """A job looks for a slot no more."""
        self.queue_arrival()
        self._state.waiting.remove(job)
        node_state = self._reserved.pop(job.job_id, None)
        if node_state:
            node_state.reserve_for("")

    def placement(self, job: Job, *, is_explained: bool = False) -> Placement:
        """Where the job would go now; with ``is_explained`` what is decided of each node, too."""
        candidates = self._state.node_table.groups.candidates(job.demand)
        return self._policy.place(self._question(job), candidates, is_explained=is_explained)

    def _reserve(self, job: Job, node_state: NodeState | None) -> None:
        """Nothing new goes to this node, so that it becomes empty for the job. Another one is no longer reserved."""
        reserved = self._reserved.pop(job.job_id, None)
        if reserved and reserved is not node_state and reserved.reserved_for == job.job_id:
            reserved.reserve_for("")
        if node_state:
            node_state.reserve_for(job.job_id)
            self._reserved[job.job_id] = node_state

    def acquire_leases(self) -> None:
        """Give free slots to waiting jobs, whose turn it is first, until slots or takers run out."""
        self._why_not.clear()
        self._colocated.clear()
        if self._state.is_store_away:  # nobody could be told, and the push would be late before it began
            self.queue_arrival()
            return
        groups = self._state.node_table.groups
        if self._arrival is not None:
            job, node_state = self._arrival, self.placement(self._arrival).node_state
            if node_state:
                self._arrival = None
                self._assign(job, node_state)
            self.queue_arrival()
        if not len(self._state.waiting):
            return
        skipped = []
        while (demand := groups.next_demand()) is not None:
            if not self._assign_next(demand):
                groups.skip(demand)
                skipped.append(demand)
        for demand in skipped:
            groups.enqueue(demand)

    def _assign_next(self, demand: Demand) -> bool:
        """Assign the next job of a demand; where it avoids its failed node or has to run alone, one behind it."""
        skipped: list[Job] = []
        node_state = None
        while (job := self._state.waiting.head(demand)) is not None:
            placement = self.placement(job)
            node_state = placement.node_state
            if node_state:
                self._assign(job, node_state)
                break
            if job.is_exclusive:
                self._reserve(job, placement.to_reserve)
            if not (job.is_exclusive or job.excluded_node) or len(skipped) == _LOOK_BEHIND:
                break
            self._state.waiting.skip(job)
            skipped.append(job)
        for job in skipped:
            self._state.waiting.readmit(job)
        return node_state is not None

    def _question(self, job: Job) -> Question:
        """The job as selection sees it."""
        rules = self._state.selection
        session = self._delivering.sessions.get(job.session_key)
        return Question(
            demand=job.demand,
            pair=job.demand.pair,
            audio_ms=self._state.expected_ms(job),
            now_ms=self._state.now_ms,
            rules=rules,
            speeds=self._state.speeds,
            job_id=job.job_id,
            is_exclusive=job.is_exclusive,
            tie_key=f"{job.job_id}/{job.attempt}",
            excluded_node=job.excluded_node,
            excluded_until_ms=job.excluded_until_ms,
            colocated_node=self._colocated.get(job.client_id, ""),
            affine_node=session.affine_node(self._state.now_ms, rules.affinity_ttl_ms) if session else "",
        )

    def _assign(self, job: Job, node_state: NodeState) -> None:
        self._state.waiting.remove(job)
        kept = self._reserved.pop(job.job_id, None)
        if kept and kept is not node_state:
            kept.reserve_for("")
        if job.is_exclusive:
            node_state.reserve_for(job.job_id)
        job.move(JobEvent.ASSIGN)
        job.node, job.incarnation, job.agent = node_state.node, node_state.incarnation, node_state.agent
        self._state.put_on_node(job)
        job.assigned_at_ms = self._state.now_ms
        job.record(self._state.now_ms, f"assigned to {node_state.node}")
        node_state.acquire((job.job_id, job.attempt), self._state.expected_ms(job))
        self._state.waiting.shares.charge(job.spec.tenant, job.session_key, cost_ms(job), is_served=True)
        if job.spec.session:
            self._delivering.session(job.client_id, job.spec.session).use(node_state.node, self._state.now_ms)
        self._colocated[job.client_id] = node_state.node
        self._state.counters.assigned += 1
        self.await_push(job)
        self._state.touched[job.job_id] = job
        self._state.notify(job, assigned(job))

    def await_push(self, job: Job) -> None:
        """From now on its audio has the time that a push may take."""
        limit_ms = self._state.rules.push_timeout_ms + job.audio_ms * self._state.rules.push_ms_per_audio_s // 1000
        self._state.due.set(("job", job.job_id, ""), self._state.now_ms + limit_ms)

    def why_no_node(self, job: Job) -> WhyNot:
        """What speaks against each node, found once a turn for all that ask the same: many may run out of time."""
        key = (job.demand, job.excluded_node, job.is_exclusive)
        if key not in self._why_not:
            reasons = self.placement(job, is_explained=True).reasons
            nobody = "others were first" if self._state.node_table.by_node else "there is no node at all"
            self._why_not[key] = WhyNot(Counter(reasons.values()), reasons_text(reasons) if reasons else nobody)
        return self._why_not[key]
