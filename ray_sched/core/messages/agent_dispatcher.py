"""NodeAgent and Dispatcher: reports on attempts go up, orders about them come down."""

from typing import Annotated

from msgspec import Meta

from ray_sched.core.errors import Code
from ray_sched.core.messages.fields import Attempt, AudioMs, Count, Key, LongText, Message, Text


class RunAccepted(Message, frozen=True, kw_only=True):
    """An agent has copied the audio out of the object store and given the job a slot."""

    job_id: Text
    attempt: Attempt
    audio_ms: AudioMs
    audio_bytes: Count
    age_ms: Count = 0
    """How long ago that was when the agent sent this."""


class RunRefused(Message, frozen=True, kw_only=True):
    """An agent does not take this attempt; nothing of it stays there."""

    job_id: Text
    attempt: Attempt
    why: LongText


class RunPartial(Message, frozen=True, kw_only=True):
    """An agent has recognised some of the text. Repeats replace each other."""

    job_id: Text
    attempt: Attempt
    text: LongText


class RunFinished(Message, frozen=True, kw_only=True):
    """An agent has run the job; its slot is free. Speech, if any, waits there to be fetched."""

    job_id: Text
    attempt: Attempt
    text: LongText
    translation: LongText = ""
    speech_bytes: Count = 0
    speech_rate_hz: Count = 0
    run_ms: Count


class RunFailed(Message, frozen=True, kw_only=True):
    """An agent's engine did not bring this attempt to its end; its slot is free."""

    job_id: Text
    attempt: Attempt
    code: Code
    why: LongText
    service: Text = ""
    """With MODEL_NOT_AVAILABLE: the service to skip on this node."""
    run_ms: Count = 0


class RunStopped(Message, frozen=True, kw_only=True):
    """An agent has stopped an attempt as it was ordered to, or never had it; its slot is free."""

    job_id: Text
    attempt: Attempt


AgentMessage = RunAccepted | RunRefused | RunPartial | RunFinished | RunFailed | RunStopped


class AgentBatch(Message, frozen=True, kw_only=True):
    """Everything an agent had to say since its last call returned. Repeated until the call returns."""

    node: Text
    incarnation: Count
    key: Key = b""
    messages: Annotated[tuple[AgentMessage, ...], Meta(max_length=20_000)]


class StopRun(Message, frozen=True, kw_only=True):
    """The Dispatcher tells an agent to stop an attempt: cancelled, or out of time. Answered by RunStopped."""

    job_id: Text
    attempt: Attempt


class DropSpeech(Message, frozen=True, kw_only=True):
    """The Dispatcher tells an agent that nobody will fetch this speech any more."""

    job_id: Text
    attempt: Attempt


AgentOrder = StopRun | DropSpeech


class AgentOrders(Message, frozen=True, kw_only=True):
    """Orders for one incarnation of an agent."""

    incarnation: Count
    key: Key = b""
    """The agent's own: whoever shows it is the Dispatcher."""
    orders: Annotated[tuple[AgentOrder, ...], Meta(max_length=20_000)]
