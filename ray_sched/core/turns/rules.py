"""The numbers by which a session's audio is cut into utterances. Positions are samples at 16 kHz from its beginning."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

SAMPLES_PER_MS = 16
WINDOW_SAMPLES = 512
"""Samples of one window that a voice detector judges: 32 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRules:
    """How turns begin and end. Raises ValueError for nonsense."""

    is_detected: bool = True
    """Whether a voice detector says where utterances are; else the client commits them."""
    speech_at: float = 0.5
    """A window at least so probable is speech."""
    hysteresis: float = 0.15
    """A window less probable than ``speech_at`` by more than this is silence; between the two it goes on as it was."""
    min_speech: int = 2
    """Windows of speech without silence between them, before an utterance has begun: less is a click."""
    prefix_ms: int = 300
    """Taken along before the first speech, where it is nobody else's."""
    silence_ms: int = 500
    """A shorter pause does not end an utterance."""
    suffix_ms: int = 200
    """Taken along after the last speech, at most ``silence_ms``."""
    idle_timeout_ms: int | None = None
    """Without speech for so long after the last answer the client is told so."""
    cut_ms: int = 10_000
    """What is longer is recognised in pieces, which are joined."""
    search_ms: int = 3_000
    """A piece ends at the least probable window of these last ones, which are less than half of ``cut_ms``."""
    min_commit_ms: int = 100
    """A commit of less makes no utterance."""
    stall_ms: int = 1_500
    """An utterance of which no audio comes for so long has ended."""
    retry_for_ms: int = 10_000
    """A piece that is refused is submitted again for so long."""
    is_interruptible: bool = False
    """Whether speech while an answer plays cancels what of the answer has not come."""

    def __post_init__(self) -> None:
        if not (0 <= self.speech_at <= 1 and 0 <= self.hysteresis <= 1 and self.min_speech >= 1):
            raise ValueError("speech_at and hysteresis are from 0 to 1, and min_speech is at least 1")
        if min(self.prefix_ms, self.silence_ms, self.suffix_ms, self.min_commit_ms, self.stall_ms) < 0:
            raise ValueError("a duration is at least 0")
        if not 0 < 2 * self.search_ms < self.cut_ms:
            raise ValueError("search_ms is more than 0 and less than half of cut_ms")
        if self.idle_timeout_ms is not None and self.idle_timeout_ms < 1:
            raise ValueError("idle_timeout_ms is at least 1")

    @property
    def silence_below(self) -> float:
        """What is less probable is silence."""
        return max(self.speech_at - self.hysteresis, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeRules:
    """What users set of sessions: part of the settings of a gateway."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_sessions: Annotated[int, Ge(1), Le(100_000)] = 256
    """Of one tenant, open at the same time."""
    max_all_sessions: Annotated[int, Ge(1), Le(100_000)] = 1_024
    """Of all tenants, open at the same time; more are told 503 before their WebSocket opens."""
    to_language: str = "en"
    """Of a realtime translation that names none."""
    cut_s: Annotated[float, Ge(1), Le(60)] = 10.0
    """A longer utterance of a session is recognised in pieces while it is spoken."""
    resume_s: Annotated[float, Ge(0), Le(600)] = 30.0
    """A session waits so long for a client whose connection was cut."""
    session_s: Annotated[float, Ge(1), Le(86_400)] = 3_600.0
    """How long a session may last; its client is told to come again."""
    session_held_s: Annotated[float, Ge(10), Le(3_600)] = 60.0
    """Audio of one session that is held until it is recognised; past it, and two pieces, no more is read."""
    tenant_held_s: Annotated[float, Ge(10), Le(360_000)] = 3_600.0
    """The same of all sessions of a tenant."""
    all_held_s: Annotated[float, Ge(10), Le(3_600_000)] = 14_400.0
    """The same of all sessions: 32 kB each second."""
