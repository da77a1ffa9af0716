"""What pools offer: nodes come and go, and their jobs with them."""

from collections.abc import Iterable

from ray_sched.core.dispatch import poison
from ray_sched.core.dispatch.attempts import Attempts
from ray_sched.core.dispatch.state import Board
from ray_sched.core.effects import (
    AnswerPool,
    Log,
)
from ray_sched.core.errors import Code
from ray_sched.core.job import Job, JobStatus
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.placement.node_state import Seat
from ray_sched.core.placement.node_table import Lost


class Offers:
    """Hears pools."""

    def __init__(self, board: Board, attempts: Attempts) -> None:
        self._board = board
        self._attempts = attempts

    def take_offer(self, offer: PoolOffer) -> None:
        """Take over what a pool says of its nodes."""
        lost, new = self._board.seats.take(offer, self._board.now_ms)
        self.lose_seats(lost)
        for seat in new:
            self._reclaim(seat)
        spent = {seat.node: seat.n_spent for seat in self._board.seats.of_pool(offer.pool)}
        self._board.effects.append(AnswerPool(LeaseReceipt(spent=spent)))

    def _reclaim(self, seat: Seat) -> None:
        """Attempts that an earlier life of the Dispatcher put on this node hold a slot there, or are lost with it."""
        for job in self.jobs_on(seat.node):
            if job.incarnation == seat.incarnation and job.speech:
                continue
            expected_ms = self._board.expected_ms(job)
            if job.incarnation == seat.incarnation and seat.reclaim((job.job_id, job.attempt), expected_ms):
                job.agent = seat.agent
                if job.runs_alone:
                    seat.keep_empty_for(job.job_id)
            else:
                self._attempts.requeue(job, Code.NODE_LOST, "the node came back as a new incarnation")
        for job in self._board.fenced_on.get(seat.node, {}).values():
            for fenced in job.fenced:
                attempt = (job.job_id, fenced.attempt)
                if (fenced.node, fenced.incarnation) == (seat.node, seat.incarnation):
                    if not seat.holds(attempt):
                        seat.reclaim(attempt, self._board.expected_ms(job))
                    self._attempts.stop(seat, attempt)

    def lose_seats(self, lost: Iterable[Lost]) -> None:
        """Nodes are lost, and their attempts with them."""
        for gone in lost:
            self._lose_seat(gone.seat, gone.why, has_died=gone.has_died)

    def _lose_seat(self, seat: Seat, why: str, *, has_died: bool) -> None:
        """A node is lost: all that is on it goes back to pending; what ran there when its agent died is suspected."""
        self._attempts.seat_is_lost(seat)
        lost = [job for job in self.jobs_on(seat.node) if job.incarnation == seat.incarnation]
        for job in lost:
            if has_died and job.status is JobStatus.PROCESSING and not job.speech:
                poison.agent_died(job, was_alone=seat.n_spent == 1)
            self._attempts.requeue(job, Code.NODE_LOST, why)
        if lost:
            self._board.effects.append(Log(f"{seat.node}: {why}; {len(lost)} jobs back to pending"))

    def jobs_on(self, node: str) -> list[Job]:
        """Jobs assigned to a node, running there, or with speech there."""
        return list(self._board.on_node.get(node, {}).values())
