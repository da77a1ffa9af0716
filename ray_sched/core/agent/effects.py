"""How a run ended, as a fact for the agent's brain, and the effects it asks its shell for.

Facts are past tense, effects imperative. Reports to the Dispatcher are no effects: they wait in the brain until the
shell fetches a batch of them (:meth:`~ray_sched.core.agent.brain.AgentBrain.take_batch`).
"""

from msgspec import Struct

from ray_sched.core.errors import Code
from ray_sched.core.messages.client_agent import PushItem
from ray_sched.core.messages.fields import AttemptKey, Count, LongText
from ray_sched.core.messages.recognition import Recognition

# --- how a run ended ------------------------------------------------------------------------------------------------


class RunReturned(Struct, frozen=True, kw_only=True):
    """The engine has returned a result; its speech, if any, is in the shell's memory."""

    text: LongText
    translation: LongText = ""
    speech_bytes: Count = 0
    speech_rate_hz: Count = 0
    recognition: Recognition | None = None


class RunErred(Struct, frozen=True, kw_only=True):
    """The engine raised an error, crashed, or returned what cannot be passed on."""

    code: Code
    why: str
    service: str = ""
    """With MODEL_NOT_AVAILABLE: the service whose model is missing."""
    was_alone: bool = True
    """With ENGINE_CRASHED: nothing else was in its pass."""


class RunDeclined(Struct, frozen=True, kw_only=True):
    """The engine refused this work after all; nothing counts as failed."""

    why: str


class RunCancelled(Struct, frozen=True):
    """The engine was made to stop, by an order or by the end of the agent."""


RunEnd = RunReturned | RunErred | RunDeclined | RunCancelled

# --- what the shell does --------------------------------------------------------------------------------------------


class StartRun(Struct, frozen=True):
    """Run this attempt in the engine, on a copy of its audio; report its end to the brain exactly once."""

    position: int
    """Of the item in its push, and so of its audio."""
    item: PushItem


class CancelRun(Struct, frozen=True):
    """Make the engine stop this attempt. Its end is reported to the brain as every end is."""

    key: AttemptKey


class ForgetSpeech(Struct, frozen=True):
    """Free the speech of this attempt: it was fetched, nobody wants it, or nobody came in time."""

    key: AttemptKey


class EndProcess(Struct, frozen=True):
    """End this process. It is started again, unless another incarnation is current."""

    why: str


AgentEffect = StartRun | CancelRun | ForgetSpeech | EndProcess
