"""The job: its record, its states, and which messages about it still count.

A job waits (pending), is given to a node (assigned), runs there (processing) and ends once. From assigned and
processing it can go back to pending with the next attempt; that fences the old one, whose messages change nothing.
Terminal rows of the table are empty: an ended job never changes again.
"""

from enum import StrEnum, auto

import msgspec
from msgspec import Struct

from ray_sched.core.capability import Demand
from ray_sched.core.messages.client_dispatcher import AttemptNote, JobSpec, Outcome
from ray_sched.core.messages.fields import Attempt, Index, NextIndex, Number
from ray_sched.core.ports import SaveJob

SessionKey = tuple[str, str]
"""Client id and the client's name for the session; an empty name is all of the client's jobs without a session."""


class JobStatus(StrEnum):
    """Where a job is."""

    PENDING = auto()
    ASSIGNED = auto()
    PROCESSING = auto()
    COMPLETED = auto()
    COMPLETED_NO_TEXT = auto()
    FAILED = auto()
    CANCELLED = auto()


class JobEvent(StrEnum):
    """What happens to a job."""

    ASSIGN = auto()
    ACCEPT = auto()
    REQUEUE = auto()
    FINISH = auto()
    FINISH_EMPTY = auto()
    FAIL = auto()
    CANCEL = auto()


JOB_TABLE: dict[JobStatus, dict[JobEvent, JobStatus]] = {
    JobStatus.PENDING: {
        JobEvent.ASSIGN: JobStatus.ASSIGNED,
        JobEvent.FAIL: JobStatus.FAILED,
        JobEvent.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.ASSIGNED: {
        JobEvent.ACCEPT: JobStatus.PROCESSING,
        JobEvent.REQUEUE: JobStatus.PENDING,
        JobEvent.FAIL: JobStatus.FAILED,
        JobEvent.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.PROCESSING: {
        JobEvent.FINISH: JobStatus.COMPLETED,
        JobEvent.FINISH_EMPTY: JobStatus.COMPLETED_NO_TEXT,
        JobEvent.REQUEUE: JobStatus.PENDING,
        JobEvent.FAIL: JobStatus.FAILED,
        JobEvent.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.COMPLETED: {},
    JobStatus.COMPLETED_NO_TEXT: {},
    JobStatus.FAILED: {},
    JobStatus.CANCELLED: {},
}

TERMINAL = frozenset(status for status, row in JOB_TABLE.items() if not row)
MAX_STORY_LINES = 64
"""The story of a job keeps its first and newest lines up to this many."""


class JobTableError(Exception):
    """The table has no such row; the job is unchanged."""


class StoryLine(Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened to a job."""

    at_ms: Number
    attempt: Number
    what: str
    """Such as ``submitted``, ``assigned to node-a``, ``refused by node-a: full``."""


class Fenced(Struct, frozen=True, array_like=True, gc=False):
    """An attempt that was ordered to stop and may still hold a slot."""

    attempt: Attempt
    node: str
    incarnation: Number


class Job(Struct, kw_only=True, gc=False):
    """A job's record. Owned and changed by the Dispatcher's brain alone; Redis holds this and nothing else of a job."""

    job_id: str
    client_id: str
    spec: JobSpec
    utterance_index: Index | None
    created_at_ms: Number
    number: Number
    """Order of arrival."""
    status: JobStatus = JobStatus.PENDING
    attempt: Attempt = 1
    failovers: Number = 0
    refusals: Number = 0
    engine_errors: Number = 0
    kills: Number = 0
    """Processes that died while nobody but this job ran in them."""
    suspicions: Number = 0
    """Agents and engines that died while it and others ran there."""
    has_own_pass: bool = False
    """An engine died of it or of one beside it: nothing else is in the model while it runs."""
    is_exclusive: bool = msgspec.field(default=False, name="runs_alone")
    """It is suspected so much that a node is reserved for its next attempt, on which nothing else runs."""
    node: str = ""
    """Where this attempt is assigned or runs; empty while pending."""
    incarnation: Number = 0
    agent: str = ""
    excluded_node: str = ""
    """The node of the failed attempt before this one; avoided while another one could do the job at all."""
    excluded_until_ms: int = 0
    """Until then it is avoided even if it is the only one."""
    deadline_at_ms: Number = 0
    """When waiting ends."""
    assigned_at_ms: Number = 0
    accepted_at_ms: Number = 0
    ended_at_ms: Number = 0
    audio_ms: Number = 0
    """Duration: expected at first, measured once a node has the audio."""
    audio_bytes: Number = 0
    speech: Outcome | None = None
    """The outcome, while the submitter still fetches the speech."""
    outcome: Outcome | None = None
    attempts: tuple[AttemptNote, ...] = ()
    fenced: tuple[Fenced, ...] = ()
    """Earlier attempts of which the node has not reported the end yet."""
    story: list[StoryLine] = []
    session_next_index: NextIndex = 0
    """The index its session waited for when this record was saved."""
    is_delivered: bool = False
    """The submitter was notified of the outcome (in session order), or another job has taken its place."""

    def move(self, event: JobEvent) -> None:
        """Change the status by the table. Raises JobTableError, the job unchanged, if there is no such row."""
        try:
            self.status = JOB_TABLE[self.status][event]
        except KeyError:
            raise JobTableError(f"job {self.job_id} is {self.status} and cannot {event}") from None

    def correct_times(self, now_ms: int, longest_wait_ms: int) -> None:
        """No time of this record is later than now, nor does the job wait longer than it ever may.

        It was written by the clock of an earlier life, perhaps on another machine, which may have been ahead.
        """
        self.created_at_ms = min(self.created_at_ms, now_ms)
        self.assigned_at_ms = min(self.assigned_at_ms, now_ms)
        self.accepted_at_ms = min(self.accepted_at_ms, now_ms)
        self.ended_at_ms = min(self.ended_at_ms, now_ms)
        self.excluded_until_ms = min(self.excluded_until_ms, now_ms)
        self.deadline_at_ms = min(self.deadline_at_ms, now_ms + longest_wait_ms)

    def record(self, now_ms: int, what: str) -> None:
        """Add a line to the story."""
        if len(self.story) >= MAX_STORY_LINES:
            del self.story[MAX_STORY_LINES // 2]
        self.story.append(StoryLine(now_ms, self.attempt, what))

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL

    @property
    def demand(self) -> Demand:
        """What the job needs of a node."""
        return self.spec.demand()

    @property
    def session_key(self) -> SessionKey:
        """Sessions of different clients never meet, whatever they are called."""
        return (self.client_id, self.spec.session)


def is_current(job: Job | None, attempt: int, node: str, incarnation: int) -> bool:
    """The one fence: whether a message about an attempt on a node still counts."""
    return (
        job is not None
        and job.status in {JobStatus.ASSIGNED, JobStatus.PROCESSING}
        and (job.attempt, job.node, job.incarnation) == (attempt, node, incarnation)
    )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Job)


def to_record(job: Job) -> SaveJob:
    """The job as the store keeps it: every field, also those that equal a default."""
    return SaveJob(job_id=job.job_id, is_open=not job.is_terminal, record=_encoder.encode(job))


def from_record(record: bytes) -> Job:
    """The job a record describes. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(record)
