"""What has happened to a job, in a session, on a node, or in all: the lines that people ask for."""

from typing import TYPE_CHECKING

from msgspec import Struct

from ray_sched.core.dispatch.history import HistoryLine, What
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import Job
from ray_sched.core.slices import Sliced
from ray_sched.core.views.story_rows import Story, StoryRow, Told

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

_AT_ONCE = 1_000


class _Match(Struct, frozen=True):
    """What a line has to agree with."""

    told: Told
    since_ms: int

    def __call__(self, line: HistoryLine) -> bool:
        told = self.told
        return (
            (not told.job_id or line.job_id == told.job_id)
            and (not told.session or line.session == told.session)
            and (not told.node or line.node == told.node)
            and line.at_ms >= self.since_ms
        )


def telling(brain: "DispatchBrain", told: Told, now_ms: int) -> Sliced[Story]:
    """The newest lines that agree with what was said, the oldest of them first. Raises SchedError UNKNOWN_JOB.

    Of a job that is known what happened before the history reaches back is told from its own record.
    """
    job = brain.jobs.get(told.job_id) if told.job_id else None
    matches = _Match(told, now_ms - told.since_ms if told.since_ms else 0)
    history = brain.history
    found = []
    last = history.last
    for n, (number, line) in enumerate(history.after(told.after)):
        if matches(line):
            found.append(_row(number, line))
        if not n % _AT_ONCE:
            yield
    if told.job_id and job is None and not found and not told.after:
        raise SchedError(
            Code.UNKNOWN_JOB,
            f"there is no job {told.job_id[:80]!r}; what happened to it is forgotten, or it was of another scheduler",
        )
    if job is not None and not told.after:
        found = [*_from_record(job, found[0].at_ms if found else now_ms + 1), *found]
    is_over = job.is_terminal if job is not None else bool(told.job_id)
    return Story(rows=tuple(found[-told.limit :]), last=last, is_over=is_over)


def _row(number: int, line: HistoryLine) -> StoryRow:
    return StoryRow(
        number=number,
        at_ms=line.at_ms,
        what=str(line.what),
        text=line.text,
        job_id=line.job_id,
        attempt=line.attempt,
        node=line.node,
        session=line.session,
    )


def _from_record(job: Job, before_ms: int) -> list[StoryRow]:
    """Lines that only the job's own record has: from an earlier life of the Dispatcher, or from long ago."""
    return [
        StoryRow(
            number=0,
            at_ms=line.at_ms,
            what=str(What.NOTED),
            text=line.what,
            job_id=job.job_id,
            attempt=line.attempt,
            node="",
            session=job.spec.session,
        )
        for line in job.story
        if line.at_ms < before_ms
    ]
