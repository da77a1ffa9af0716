"""Effects of the client's brain. ``number`` names a submission: the shell has given it with ``open``."""

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


class DropAhead(Struct, frozen=True, gc=False):
    """Drop the object that was put ahead, and call ``end_ahead``: its job was not assigned at once, or is over."""


class FetchSpeech(Struct, frozen=True, gc=False):
    """Fetch the speech of this submission from its agent, then call ``speech_fetched`` or ``speech_lost``."""

    number: int
    ready: SpeechReady


class NotifyAccepted(Struct, frozen=True, gc=False):
    """Notify the user that the Dispatcher has taken the job. Comes again, with another id, if it was taken anew."""

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
    """Drop a result that no submission waits for: that of a job whose submission was refused before."""

    delivered: Delivered


class NotifyRefused(Struct, frozen=True, gc=False):
    """Notify the user that this submission ends without a result, and why."""

    number: int
    refusal: Refusal


class NotifyGap(Struct, frozen=True, gc=False):
    """Notify the user that a session goes on without these results."""

    missing: MissingResult


class EndSessions(Struct, frozen=True, gc=False):
    """End the streams of all sessions: no further result or gap will come."""


Call = SendMessage | SubmitLater | PushAudio | DropAhead | FetchSpeech
"""What takes time: the shell hands the brain what came of it, as a fact."""

Notice = NotifyAccepted | NotifyPartial | NotifyResult | NotifyRefused | NotifyGap | DiscardResult | EndSessions
"""What the user gets."""

ClientEffect = Call | Notice
