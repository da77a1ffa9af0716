"""How much audio is held for sessions: of one, of a tenant's, and of all. Where there is too much, no more is read."""

from collections import Counter

from ray_sched.core.messages.client_agent import SAMPLE_RATE_HZ
from ray_sched.settings import GatewayRules


class Room:
    """Of one gateway. Counts samples at 16 kHz."""

    def __init__(self, rules: GatewayRules) -> None:
        self._rules = rules
        self._held: Counter[str] = Counter()
        self._all = 0

    @property
    def held_s(self) -> float:
        """Seconds of audio that are held for all sessions."""
        return self._all / SAMPLE_RATE_HZ

    def count(self, tenant: str, n_samples: int) -> None:
        """So many more are held for a tenant; less than 0: fewer."""
        self._held[tenant] += n_samples
        self._all += n_samples
        if not self._held[tenant]:
            del self._held[tenant]

    def has_room(self, tenant: str, session_s: float) -> bool:
        """Whether a session of the tenant, for which so many seconds are held, may bring more."""
        rules = self._rules
        return (
            session_s < max(rules.session_held_s, 2 * rules.cut_s)
            and self._held[tenant] < rules.tenant_held_s * SAMPLE_RATE_HZ
            and self._all < rules.all_held_s * SAMPLE_RATE_HZ
        )
