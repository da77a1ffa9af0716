"""Assigning: jobs wait for a slot, and free slots are spent on them, whose turn it is first."""

from ray_sched.core.board import Board
from ray_sched.core.capability import Demand
from ray_sched.core.delivering import Delivering
from ray_sched.core.job import Job, JobEvent
from ray_sched.core.reasons import Reason
from ray_sched.core.selection import Question, Seat, select
from ray_sched.core.told import assigned
from ray_sched.core.waiting import cost_ms

_LOOK_BEHIND = 8
"""How many jobs behind one that avoids its failed node are tried for a free slot."""


class Assigning:
    """Brings waiting jobs and free slots together."""

    def __init__(self, board: Board, delivering: Delivering) -> None:
        self._board = board
        self._delivering = delivering
        self._reasons: dict[tuple[Demand, str], dict[str, Reason]] = {}
        self._arrival: Job | None = None
        """A job that has begun to wait in this turn, while nobody else waits."""

    def wait(self, job: Job) -> None:
        """A job looks for a slot. One that is alone is not put in a queue before it has found none."""
        self._board.touched[job.job_id] = job
        self._board.due.set(("job", job.job_id, ""), job.deadline_at_ms)
        if self._arrival is None and not len(self._board.waiting):
            self._arrival = job
        else:
            self.queue_arrival()
            self._board.waiting.add(job)

    def queue_arrival(self) -> None:
        """It has found none, or may not find one before others have been seen."""
        if self._arrival is not None:
            self._board.waiting.add(self._arrival)
            self._arrival = None

    def spend_leases(self) -> None:
        """Give free slots to waiting jobs, whose turn it is first, until slots or takers run out."""
        self._reasons.clear()
        groups = self._board.seats.groups
        if self._arrival is not None:
            job, seat = self._arrival, groups.pick(self.question(self._arrival))
            if seat:
                self._arrival = None
                self._assign(job, seat)
            self.queue_arrival()
        if not len(self._board.waiting):
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
        while (job := self._board.waiting.first(demand)) is not None:
            seat = self._board.seats.groups.pick(self.question(job))
            if seat:
                self._assign(job, seat)
                break
            if not job.excluded_node or len(aside) == _LOOK_BEHIND:
                break
            self._board.waiting.step_aside(job)
            aside.append(job)
        for passed in aside:
            self._board.waiting.step_back(passed)
        return seat is not None

    def question(self, job: Job) -> Question:
        """The job as selection sees it."""
        rules = self._board.selection
        session = self._delivering.sessions.get(job.session_key)
        return Question(
            demand=job.demand,
            pair=job.demand.pair,
            audio_ms=self._board.expected_ms(job),
            now_ms=self._board.now_ms,
            rules=rules,
            speeds=self._board.speeds,
            tie_key=f"{job.job_id}/{job.attempt}",
            excluded_node=job.excluded_node,
            affine_node=session.affine_node(self._board.now_ms, rules.affinity_ttl_ms) if session else "",
        )

    def _assign(self, job: Job, seat: Seat) -> None:
        self._board.waiting.remove(job)
        job.move(JobEvent.ASSIGN)
        job.node, job.incarnation, job.agent = seat.node, seat.incarnation, seat.agent
        job.assigned_at_ms = self._board.now_ms
        job.tell(self._board.now_ms, f"assigned to {seat.node}")
        seat.spend((job.job_id, job.attempt), self._board.expected_ms(job))
        self._board.waiting.shares.charge(job.spec.tenant, job.session_key, cost_ms(job), is_served=True)
        if job.spec.session:
            self._delivering.session(job.client_id, job.spec.session).use(seat.node, self._board.now_ms)
        self._board.counters.assigned += 1
        limit_ms = self._board.rules.push_timeout_ms + job.audio_ms * self._board.rules.push_ms_per_audio_s // 1000
        self._board.due.set(("job", job.job_id, ""), self._board.now_ms + limit_ms)
        self._board.touched[job.job_id] = job
        self._board.tell(job, assigned(job))

    def why_no_node(self, job: Job) -> dict[str, Reason]:
        """The reason of each node, found once a turn for all that ask the same: many may run out of time at once."""
        key = (job.demand, job.excluded_node)
        if key not in self._reasons:
            self._reasons[key] = select(self._board.seats.by_node.values(), self.question(job))[1]
        return self._reasons[key]
