"""NodeAgent and Dispatcher: reports on attempts go up, orders about them come down."""

from typing import Annotated

from msgspec import Meta

from ray_sched.core.errors import Code
from ray_sched.core.messages.fields import Attempt, AudioMs, Count, Key, LongText, Message, Text
from ray_sched.core.messages.recognition import Recognition


class RunAccepted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Agent to Dispatcher: the job has a slot, and its audio is in the agent's memory. Sent within 20 ms."""

    job_id: Text
    attempt: Attempt
    audio_ms: AudioMs
    audio_bytes: Count
    age_ms: Count = 0
    """How long ago that was when the agent sent this."""
    loads_within_ms: AudioMs = 0
    """0: it runs. Else its model is loaded first, within so long: then RunBegan follows, or RunRefused."""


class RunBegan(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher: the model that an accepted job has waited for is loaded. Its time to run begins now."""

    job_id: Text
    attempt: Attempt
    loaded_ms: Count
    """How long it has waited."""


class RunRefused(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher, at once: this attempt is refused; nothing of it stays there, and it never starts there."""

    job_id: Text
    attempt: Attempt
    why: LongText


class RunPartial(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher: the text recognised so far. A newer one replaces one that was not sent yet."""

    job_id: Text
    attempt: Attempt
    text: LongText


class RunFinished(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Agent to Dispatcher: the job has run and its slot is free. Speech, if any, waits there to be fetched."""

    job_id: Text
    attempt: Attempt
    text: LongText
    translation: LongText = ""
    speech_bytes: Count = 0
    speech_rate_hz: Count = 0
    run_ms: Count
    recognition: Recognition | None = None
    """None: the engine says nothing beyond the text."""


class RunFailed(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher: the engine failed or crashed in this attempt; its slot is free."""

    job_id: Text
    attempt: Attempt
    code: Code
    why: LongText
    service: Text = ""
    """With MODEL_NOT_AVAILABLE: the service to skip on this node."""
    was_alone: bool = True
    """With ENGINE_CRASHED: nothing else was in the pass in which the engine's process ended."""


class RunStopped(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher, the answer to StopRun: the attempt was stopped, or did not run; its slot is free."""

    job_id: Text
    attempt: Attempt


AgentMessage = RunAccepted | RunBegan | RunRefused | RunPartial | RunFinished | RunFailed | RunStopped


class AgentBatch(Message, frozen=True, kw_only=True):
    """Agent to Dispatcher: the reports since its last call returned, in order. Repeated until the call returns."""

    node: Text
    incarnation: Count
    key: Key = b""
    messages: Annotated[tuple[AgentMessage, ...], Meta(max_length=20_000)]


class StopRun(Message, frozen=True, kw_only=True):
    """Dispatcher to agent: stop this attempt and never start it: cancelled, or out of time. Answered by RunStopped."""

    job_id: Text
    attempt: Attempt


class DropSpeech(Message, frozen=True, kw_only=True):
    """Dispatcher to agent: free this speech; it was fetched, or nobody will fetch it."""

    job_id: Text
    attempt: Attempt


AgentOrder = StopRun | DropSpeech


class AgentOrders(Message, frozen=True, kw_only=True):
    """Dispatcher to one incarnation of an agent; may get lost, another incarnation ignores it."""

    incarnation: Count
    key: Key = b""
    """The key of that incarnation: nobody but the Dispatcher can show it."""
    orders: Annotated[tuple[AgentOrder, ...], Meta(max_length=20_000)]
