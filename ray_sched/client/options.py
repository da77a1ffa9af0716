"""How a client talks to the cluster."""

from msgspec import Struct

from ray_sched.core.rules import INLINE_BYTES


class ClientOptions(Struct, frozen=True, kw_only=True):
    """Everything about a client but its jobs."""

    client_id: str = ""
    """A secret: whoever has it is this client. Empty: a new one is made up."""
    tenant: str = ""
    push_timeout_s: float = 2.0
    """How long an agent may take to answer a push, and ``push_ms_per_audio_s`` more for each second of audio in it."""
    push_ms_per_audio_s: int = 20
    inline_bytes: int = INLINE_BYTES
    """A push of more audio than this goes through the object store, one of less in the call itself."""
    retry_for_s: float = 10.0
    """How long a call to the Dispatcher is repeated before its submits are refused."""
    read_timeout_s: float = 30.0
    """An audio source that gives nothing for so long is given up."""
    max_duration_s: float = 600.0
    """Longer audio is refused."""
