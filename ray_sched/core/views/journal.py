"""What happens, as it is written down for programs: enough to replay the jobs that came, and what they met."""

from typing import TYPE_CHECKING

from msgspec import Struct

from ray_sched.core.dispatch.history import HistoryLine, What

if TYPE_CHECKING:  # who calls the Dispatcher imports this, too, and needs no brain
    from ray_sched.core.dispatch.brain import DispatchBrain

LOST = "lost"
"""Instead of a kind: so many lines, by ``text``, came faster than they were written."""


class JournalJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as far as its replay needs it."""

    client: str
    src: str
    tgt: str
    services: tuple[str, ...]
    utterance_index: int | None = None
    audio_ms: int = 0
    """Declared at first; measured, in the line about its end."""
    priority: int = 0
    deadline_ms: int | None = None
    tenant: str = ""
    needs_gpu: bool = False
    status: str = ""
    code: str = ""
    """Of the error it ended with."""
    wait_ms: int = 0
    run_ms: int = 0


class JournalRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal."""

    number: int
    at_ms: int
    what: str
    text: str
    job_id: str = ""
    attempt: int = 0
    node: str = ""
    session: str = ""
    trace_id: str = ""
    job: JournalJob | None = None
    """With ``submitted`` and ``ended``, unless the job is forgotten already."""


def journal_rows(brain: "DispatchBrain", after: int) -> list[JournalRow]:
    """What has happened after the line of this number."""
    lines = brain.history.after(after)
    rows = [_row(brain, number, line) for number, line in lines]
    if lines and (n_lost := lines[0][0] - after - 1):
        rows.insert(0, JournalRow(number=after + 1, at_ms=lines[0][1].at_ms, what=LOST, text=f"{n_lost} lines"))
    return rows


def _row(brain: "DispatchBrain", number: int, line: HistoryLine) -> JournalRow:
    has_job = line.what in {What.SUBMITTED, What.ENDED}
    return JournalRow(
        number=number,
        at_ms=line.at_ms,
        what=str(line.what),
        text=line.text,
        job_id=line.job_id,
        attempt=line.attempt,
        node=line.node,
        session=line.session,
        trace_id=line.trace_id,
        job=_job(brain, line) if has_job else None,
    )


def _job(brain: "DispatchBrain", line: HistoryLine) -> JournalJob | None:
    job = brain.jobs.get(line.job_id)
    if job is None:
        return None
    spec = job.spec
    outcome = job.outcome if line.what is What.ENDED else None
    return JournalJob(
        client=job.client_id,
        src=spec.src,
        tgt=spec.tgt,
        services=spec.services,
        utterance_index=job.utterance_index,
        audio_ms=outcome.audio_ms if outcome else spec.audio_ms,
        priority=spec.priority,
        deadline_ms=spec.deadline_ms,
        tenant=spec.tenant,
        needs_gpu=spec.needs_gpu,
        status=outcome.status if outcome else "",
        code=str(outcome.error.code) if outcome and outcome.error else "",
        wait_ms=outcome.wait_ms if outcome else 0,
        run_ms=outcome.run_ms if outcome else 0,
    )
