"""What the client's brain has its shell do. ``number`` is the shell's own name of a submission, given with it."""

from msgspec import Struct

from ray_sched.core.errors import Refusal
from ray_sched.core.messages.client_dispatcher import (
    Assigned,
    ClientMessage,
    Delivered,
    JobSpec,
    MissingResult,
    SpeechReady,
)


class SendMessage(Struct, frozen=True, gc=False):
    """Send this to the Dispatcher, after all that was sent before and together with what else waits.

    The shell hands the batch back, as it was, with the reply or when there was none.
    """

    message: ClientMessage
    number: int = 0
    """The submission that a Submit asks for; 0 for everything else."""


class SubmitLater(Struct, frozen=True, gc=False):
    """Call ``submit_again`` of the brain with this number when so much time has passed."""

    number: int
    after_ms: int


class PushAudio(Struct, frozen=True, gc=False):
    """Read the audio of this submission and push it to the agent it is assigned to."""

    number: int
    spec: JobSpec
    assigned: Assigned


class FetchSpeech(Struct, frozen=True, gc=False):
    """Fetch the speech of this submission from the agent that has it, and tell the brain whether it is here."""

    number: int
    ready: SpeechReady


class NotifyAccepted(Struct, frozen=True, gc=False):
    """Tell the user that the Dispatcher has taken the job. Comes again, with another id, if it had to take it anew."""

    number: int
    job_id: str
    utterance_index: int | None
    is_duplicate: bool


class NotifyPartial(Struct, frozen=True, gc=False):
    """Give the user what was recognised so far."""

    number: int
    text: str


class NotifyResult(Struct, frozen=True, gc=False):
    """Give the user the result: exactly one, or a refusal, for each submission; in order within a session."""

    numbers: tuple[int, ...]
    """All submissions of this job; the speech was fetched for the first of them."""
    delivered: Delivered


class DiscardResult(Struct, frozen=True, gc=False):
    """A result that no submission of this client waits for: that of a job it was told it could not have."""

    delivered: Delivered


class NotifyRefused(Struct, frozen=True, gc=False):
    """Tell the user that there will be no result of this submission, and why."""

    number: int
    refusal: Refusal


class NotifyGap(Struct, frozen=True, gc=False):
    """Tell the user that a session goes on without these results."""

    missing: MissingResult


class EndSessions(Struct, frozen=True, gc=False):
    """Nothing more will come of any session."""


Call = SendMessage | SubmitLater | PushAudio | FetchSpeech
"""What takes time: the brain is told how it went."""

Notice = NotifyAccepted | NotifyPartial | NotifyResult | NotifyRefused | NotifyGap | DiscardResult | EndSessions
"""What the user gets."""

ClientEffect = Call | Notice
