"""What is due at a time: one small record for each kind, the key of its time in the Dispatcher's queue of due times."""

from msgspec import Struct

from ray_sched.core.job import SessionKey
from ray_sched.core.messages.fields import AttemptKey


class JobDue(Struct, frozen=True, gc=False):
    """A job has waited for a slot, for its audio to be accepted, or run, for as long as it may."""

    job_id: str


class GapDue(Struct, frozen=True, gc=False):
    """A session has held a result back for as long as it may: what is missing before it is announced as a gap."""

    session: SessionKey


class SessionDue(Struct, frozen=True, gc=False):
    """A session may have been unused for so long that it is forgotten."""

    session: SessionKey


class ClientDue(Struct, frozen=True, gc=False):
    """A client may have been silent for so long that it counts as gone."""

    client_id: str


class StopDue(Struct, frozen=True, gc=False):
    """An agent has not confirmed that it stopped an attempt: it is ordered again."""

    node: str
    attempt: AttemptKey


Due = JobDue | GapDue | SessionDue | ClientDue | StopDue
