"""Client and NodeAgent: pushes of audio, and fetching of synthesised speech.

A push is answered by returning: then the agent has copied the audio of the jobs it has accepted, and the client may
drop its copy. The agent reports to the Dispatcher, not to the client, which jobs it has accepted.
"""

from typing import Annotated

from msgspec import Meta, Struct

from ray_sched.core.capability import SpokenLanguage
from ray_sched.core.messages.fields import Attempt, Count, Message, Services, Text
from ray_sched.core.messages.recognition import Hints

SAMPLE_RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2
"""Of audio in a push: 16 kHz, mono, signed, 16 bit."""


class PushItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One job of a push; its audio has its place in the batch, as 16 kHz mono signed 16-bit samples."""

    job_id: Text
    attempt: Attempt
    src: SpokenLanguage
    tgt: SpokenLanguage
    services: Services
    wants_partials: bool
    n_bytes: Count
    """Of its audio."""
    token: Text = ""
    """As it came with Assigned; so is the next one."""
    has_own_pass: bool = False
    hints: Hints | None = None


class Push(Message, frozen=True, kw_only=True):
    """A client brings jobs to an agent, with the audio of each beside it, in the order of ``items``."""

    incarnation: Count
    items: Annotated[tuple[PushItem, ...], Meta(max_length=4096)]


class Fetch(Message, frozen=True, kw_only=True):
    """A client fetches synthesised speech from an agent; the return value is the samples: 16 bit, signed, mono."""

    job_id: Text
    attempt: Attempt
    token: Text = ""
    """As it came with SpeechReady."""
