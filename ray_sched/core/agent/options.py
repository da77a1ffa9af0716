"""Who an agent is, and what it may do."""

from msgspec import Struct

from ray_sched.core.capability import Offer

SPEECH_TTL_MS = 300_000
"""Speech that was neither fetched nor ordered to be dropped is kept for this long."""


class AgentOptions(Struct, frozen=True, kw_only=True):
    """Who an agent is, and what it may do."""

    node: str
    incarnation: int
    slots: int
    """Attempts that run at the same time, at most."""
    key: bytes = b""
    """Of this incarnation: shown with every message, so that others know who sends it."""
    speech_ttl_ms: int = SPEECH_TTL_MS
    offer: Offer = Offer()
    """What its node offers of what the engine can do."""
    pid: int = 0
    """Of its process, among those of its machine."""
