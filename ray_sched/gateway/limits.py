"""How much of everything may be there at once, and how much audio a tenant may bring in a minute.

Knows no clock: who asks says the time, in milliseconds of one that does not go back.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ray_sched.core.errors import Code, SchedError
from ray_sched.settings import GatewayRules

_RETRY_MS = 1_000
_MINUTE_MS = 60_000
_MAX_RETRY_MS = 600_000


class Limits:
    """What one gateway has in hand. Everything of it raises SchedError OVERLOADED, with the time to come again."""

    def __init__(self, rules: GatewayRules) -> None:
        self._rules = rules
        self._audio = AudioRates(rules.audio_s_per_minute)
        self._sessions: Counter[str] = Counter()
        self.n_requests = 0
        """That are being answered."""
        self.held_bytes = 0
        """Of bodies that were read for requests that are being answered."""

    @property
    def n_sessions(self) -> int:
        """That are open, of all tenants."""
        return self._sessions.total()

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request, until it is answered to its end."""
        if self.n_requests >= self._rules.max_requests:
            raise _overloaded(f"{self.n_requests} requests are being answered; try again in a second")
        self.n_requests += 1
        try:
            yield
        finally:
            self.n_requests -= 1

    def hold(self, n_bytes: int) -> None:
        """So many bytes more of bodies are in hand."""
        if self.held_bytes + n_bytes > self._rules.max_held_mb * 2**20:
            raise _overloaded(f"requests of {self.held_bytes // 2**20} MiB are being answered; try again in a second")
        self.held_bytes += n_bytes

    def let_go(self, n_bytes: int) -> None:
        """They are not any more."""
        self.held_bytes -= n_bytes

    @property
    def are_sessions_full(self) -> bool:
        """Whether no tenant may open one more."""
        return self.n_sessions >= self._rules.max_all_sessions

    def open_session(self, tenant: str) -> None:
        """One session more of a tenant."""
        n_open = self._sessions[tenant]
        if n_open >= self._rules.max_sessions:
            raise _overloaded(f"{n_open} sessions are open; end one, or try again in a second")
        self._sessions[tenant] += 1

    def close_session(self, tenant: str) -> None:
        """One session of a tenant has ended."""
        self._sessions[tenant] -= 1
        self._sessions += Counter()  # tenants without one are not kept

    def bring_audio(self, tenant: str, audio_ms: int, now_ms: int) -> None:
        """A tenant brings so much audio, if it may."""
        self._audio.spend(tenant, audio_ms, now_ms)

    def correct_audio(self, tenant: str, more_ms: int) -> None:
        """It was so much more than was known before it was decoded, or less."""
        self._audio.correct(tenant, more_ms)


class AudioRates:
    """Audio of each tenant by time.

    A minute's may come at once; what comes is taken whole, and what is too much is owed.
    """

    def __init__(self, audio_s_per_minute: float) -> None:
        """0: as much as comes."""
        self._most_ms = audio_s_per_minute * 1000
        self._owed: dict[str, tuple[float, int]] = {}
        """By tenant: milliseconds of audio that are not forgotten yet, and when that was true."""

    def spend(self, tenant: str, audio_ms: int, now_ms: int) -> None:
        """So much comes. Raises SchedError OVERLOADED if a minute's or more is owed already."""
        if not self._most_ms:
            return
        owed_ms = self._owed_at(tenant, now_ms)
        if owed_ms >= self._most_ms:
            wait_ms = round((owed_ms - self._most_ms) * _MINUTE_MS / self._most_ms) + 1
            raise _overloaded(
                f"more than {self._most_ms / 1000:g} s of audio came within a minute; try again later",
                min(max(wait_ms, _RETRY_MS), _MAX_RETRY_MS),
            )
        self._owed = {other: owed for other, owed in self._owed.items() if self._owed_at(other, now_ms) > 0}
        self._owed[tenant] = (owed_ms + audio_ms, now_ms)

    def correct(self, tenant: str, more_ms: int) -> None:
        """So much more came than was said."""
        if self._most_ms and tenant in self._owed:
            owed_ms, at_ms = self._owed[tenant]
            self._owed[tenant] = (max(owed_ms + more_ms, 0.0), at_ms)

    def _owed_at(self, tenant: str, now_ms: int) -> float:
        owed_ms, at_ms = self._owed.get(tenant, (0.0, now_ms))
        return max(owed_ms - (now_ms - at_ms) * self._most_ms / _MINUTE_MS, 0.0)


def _overloaded(sentence: str, retry_after_ms: int = _RETRY_MS) -> SchedError:
    return SchedError(Code.OVERLOADED, sentence, retry_after_ms)
