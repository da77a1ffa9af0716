"""The attempts an agent knows: those that run, those that are fenced, and speech that waits.

Owns the node's ledger of audio: one entry for each attempt, RUNNING from the moment its copy is in the agent's memory
to the end of its run, then SPOKEN for as long as its speech waits. It neither refuses nor reports anything.
"""

from collections import OrderedDict

from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.fields import AttemptKey

MAX_FENCED = 10_000
"""Attempts that are never started (again): the newest ones are remembered."""


class Run:
    """One attempt that holds a slot."""

    __slots__ = ("is_stopping", "started_at_ms")

    def __init__(self, started_at_ms: int) -> None:
        self.started_at_ms = started_at_ms
        self.is_stopping = False
        """The agent was ordered to stop this attempt, and its engine has not stopped yet."""


class Attempts:
    """What one incarnation of an agent knows of attempts."""

    def __init__(self) -> None:
        self.ledger: Ledger[AttemptKey] = Ledger()
        self.running: dict[AttemptKey, Run] = {}
        """Attempts that hold a slot; changed by ``start`` and the two ``end`` verbs only."""
        self.started = 0
        self.most_running = 0
        self._fenced: OrderedDict[AttemptKey, None] = OrderedDict()
        self._speech_until_ms: OrderedDict[AttemptKey, int] = OrderedDict()

    def fence(self, key: AttemptKey) -> None:
        """Never start this attempt from now on."""
        self._fenced[key] = None
        if len(self._fenced) > MAX_FENCED:
            self._fenced.popitem(last=False)

    def is_fenced(self, key: AttemptKey) -> bool:
        """Whether it was started, refused or ordered to stop before. Never forgotten while its speech waits."""
        return key in self._fenced or key in self._speech_until_ms

    def start(self, key: AttemptKey, n_bytes: int, now_ms: int) -> None:
        """The attempt has a slot, and a copy of its audio is in the agent's memory."""
        self.fence(key)
        self.ledger.open(key, AudioState.RUNNING, n_bytes)
        self.running[key] = Run(now_ms)
        self.started += 1
        self.most_running = max(self.most_running, len(self.running))

    def end(self, key: AttemptKey) -> Run:
        """The attempt has left its slot and its audio is freed. Raises KeyError if it held none."""
        run = self.running.pop(key)
        self.ledger.move(key, AudioState.RELEASED)
        return run

    def end_with_speech(self, key: AttemptKey, speech_bytes: int, until_ms: int) -> Run:
        """As ``end``; speech waits to be fetched until ``until_ms`` at most, which is never earlier than before."""
        run = self.running.pop(key)
        self.ledger.move(key, AudioState.SPOKEN, speech_bytes)
        self._speech_until_ms[key] = until_ms
        return run

    def forget_speech(self, key: AttemptKey) -> bool:
        """The speech of this attempt is freed. False if none waits."""
        if self._speech_until_ms.pop(key, None) is None:
            return False
        self.ledger.move(key, AudioState.RELEASED)
        return True

    def speech_due_ms(self) -> int | None:
        """Until when the oldest speech waits; None if none does."""
        return next(iter(self._speech_until_ms.values()), None)

    def overdue_speech(self, now_ms: int) -> AttemptKey | None:
        """An attempt whose speech has waited long enough, if there is one."""
        due_ms = self.speech_due_ms()
        return next(iter(self._speech_until_ms)) if due_ms is not None and due_ms <= now_ms else None
