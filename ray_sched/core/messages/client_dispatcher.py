"""Client and Dispatcher: descriptions of jobs and what the submitter found out go up; answers and mail come down.

A client repeats a batch until it is answered, and acknowledges mail with its next poll: both may come twice.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import Demand, SpokenLanguage, demand_of
from ray_sched.core.errors import Refusal
from ray_sched.core.messages.fields import Attempt, AudioMs, Count, Index, LongText, Message, Number, Services, Text
from ray_sched.core.messages.recognition import Hints, Recognition


class JobSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The description of a job: everything but its audio."""

    request_id: Text
    """Unique per client; submitting it again returns the same job, or a new one if that had failed for no fault of its
    own."""
    src: SpokenLanguage
    """``auto``: the engine finds out."""
    tgt: SpokenLanguage
    """``auto``, with ``auto`` as the source: no other than what is spoken."""
    services: Services = ("asr",)
    """Sorted names out of ``asr``, ``mt``, ``tts``."""
    session: Text = ""
    """Empty: the job belongs to no session, its result is delivered as soon as it is there."""
    utterance_index: Index | None = None
    """Place in the session, counted from 0; None: the next one."""
    first_index: Index | None = None
    """Where the session begins, or goes on: its submitter awaits nothing before this index."""
    audio_ms: AudioMs = 0
    """Expected duration; 0: not known before the audio is read."""
    digest: Text = ""
    """Fingerprint of the audio, given with request ids that the user chose."""
    submission: Text = ""
    """Which call of a user this is, given with request ids that the user chose: the same again is one call repeated."""
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    """Higher is sooner."""
    deadline_ms: Annotated[int, Meta(ge=1, le=30 * 24 * 3600 * 1000)] | None = None
    """The job must have been given to a node within this time of its submission; replaces the pending time-out."""
    tenant: Text = ""
    needs_gpu: bool = False
    wants_partials: bool = False
    name: Text = ""
    """What people call it, such as the file's name."""
    trace_id: Text = ""
    hints: Hints | None = None

    def demand(self) -> Demand:
        """What this job needs of a node; the same object for all jobs that need the same."""
        if self.hints is None:
            return demand_of(self.src, self.tgt, self.services, self.tenant, self.needs_gpu)
        candidates = self.hints.candidates
        return demand_of(self.src, self.tgt, self.services, self.tenant, self.needs_gpu, candidates)


class Submit(Message, frozen=True, kw_only=True):
    """A client asks the Dispatcher to take a job. Answered with Accepted or Refused; the same again is the same job."""

    spec: JobSpec


class Cancel(Message, frozen=True, kw_only=True):
    """A client tells the Dispatcher that it no longer wants a job. Answered with Accepted (it ends) or Refused."""

    job_id: Text


class PushFailed(Message, frozen=True, kw_only=True):
    """A client tells the Dispatcher that a push did not get through, or timed out. The job is tried again."""

    job_id: Text
    attempt: Attempt
    why: LongText


class AudioUnreadable(Message, frozen=True, kw_only=True):
    """A client tells the Dispatcher that the audio cannot be read, now that it is needed. The job fails with this."""

    job_id: Text
    attempt: Attempt
    refusal: Refusal


class SpeechFetched(Message, frozen=True, kw_only=True):
    """A client tells the Dispatcher that it has the speech of an attempt; only now does the job complete."""

    job_id: Text
    attempt: Attempt


class SpeechLost(Message, frozen=True, kw_only=True):
    """A client tells the Dispatcher that it could not fetch the speech of an attempt; the job runs again."""

    job_id: Text
    attempt: Attempt
    why: LongText


ClientMessage = Submit | Cancel | PushFailed | AudioUnreadable | SpeechFetched | SpeechLost


class ClientBatch(Message, frozen=True, kw_only=True):
    """All messages of a client since its last batch was answered, in order. Answered with a ClientReply."""

    client_id: Text
    generation: Count
    """Start time of the client process in microseconds; the newest process of a client id wins."""
    messages: Annotated[tuple[ClientMessage, ...], Meta(max_length=20_000)]


class Poll(Message, frozen=True, kw_only=True):
    """A client asks the Dispatcher for its events. Answered with Mail when there are some, or empty after a while."""

    client_id: Text
    generation: Count
    acked: Count
    """Number of the last event the client has handled; the Dispatcher forgets events up to it."""
    epoch: Text = ""
    """The ``epoch`` of the mail that ``acked`` counts in; a number of another one acknowledges nothing."""
    is_resync: bool = False
    """True after a failed call: events after ``acked`` are handed out again."""
    held_bytes: Count = 0
    """The client's ledger: audio in its memory and in no push."""
    stored_bytes: Count = 0
    """The client's ledger: audio in pushes that are under way."""


class Alive(Message, frozen=True, kw_only=True):
    """A thread of a client tells the Dispatcher that its process lives, while its event loop is blocked. No answer."""

    client_id: Text
    generation: Count


class Accepted(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a Submit or Cancel: this is the job."""

    job_id: Text
    is_duplicate: bool = False
    """True: the request id was known, and this is the job it named."""
    utterance_index: Index | None = None


class Refused(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a Submit or Cancel with no."""

    refusal: Refusal


Answer = Accepted | Refused


class Assigned(Message, frozen=True, kw_only=True):
    """The Dispatcher tells the submitter where to push the audio, and until when."""

    job_id: Text
    attempt: Attempt
    node: Text
    incarnation: Count
    agent: Text
    """Name of the agent's actor."""
    token: Text = ""
    """Shows the agent that the attempt is this client's; the Dispatcher's shell puts it in."""
    has_own_pass: bool = False
    """For the agent: nothing else may be in the model while this runs, since an engine has died of it or beside it."""


class PartialText(Message, frozen=True, kw_only=True):
    """The Dispatcher passes on what a node has recognised so far. May be skipped under load."""

    job_id: Text
    attempt: Attempt
    text: LongText


class SpeechReady(Message, frozen=True, kw_only=True):
    """The Dispatcher tells the submitter that speech waits at the agent to be fetched."""

    job_id: Text
    attempt: Attempt
    agent: Text
    n_bytes: Count
    rate_hz: Count
    token: Text = ""


class AttemptNote(Struct, frozen=True, kw_only=True, gc=False):
    """What became of one attempt that did not end its job."""

    attempt: Number
    node: str
    why: str


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How a job ended."""

    status: str
    """``completed``, ``completed_no_text``, ``failed`` or ``cancelled``."""
    text: str = ""
    translation: str = ""
    speech_bytes: Number = 0
    speech_rate_hz: Number = 0
    node: str = ""
    attempt: Number = 0
    audio_ms: Number = 0
    wait_ms: Number = 0
    """From submission until a node had accepted the audio; the whole life for jobs that never were."""
    run_ms: Number = 0
    """Inside the engine, measured by the agent."""
    error: Refusal | None = None
    attempts: tuple[AttemptNote, ...] = ()
    """Earlier attempts, oldest first."""
    recognition: Recognition | None = None
    """What the engine says beyond the text; None: nothing."""


class Delivered(Message, frozen=True, kw_only=True, gc=False):
    """The Dispatcher delivers a job's outcome: in session order, or at once for jobs without a session."""

    job_id: Text
    session: Text
    utterance_index: Index | None
    """None: in no session, or another job has taken its place there."""
    outcome: Outcome
    is_late: bool = False
    """True: its gap had been announced before."""


class MissingResult(Message, frozen=True, kw_only=True):
    """The Dispatcher announces that a session goes on without these results. They may still come, marked late."""

    session: Text
    first_index: Index
    last_index: Index
    """Inclusive."""
    why: LongText


ClientEvent = Assigned | PartialText | SpeechReady | Delivered | MissingResult


class Mail(Message, frozen=True, kw_only=True):
    """Events for one client, in order; ``last`` is the number of the last one. Repeated until acknowledged."""

    epoch: Text
    """Which mailbox of which Dispatcher process this is; another one means: jobs that were taken may not be known."""
    last: Count
    events: tuple[ClientEvent, ...]
    slots: Count = 0
    """Slots of the whole cluster at this moment: how many jobs can run at once."""
    refusal: Refusal | None = None


class ClientReply(Message, frozen=True, kw_only=True):
    """The Dispatcher answers a ClientBatch: one answer for each Submit and Cancel in it, in order, and any mail."""

    answers: tuple[Answer, ...]
    mail: Mail
