"""The agent's book: which attempts hold a slot, which pushes are taken, and where their bytes are.

The last guard against overselling: whatever anyone else believes, an agent never runs more than its slots. Remembers
attempts it was told to stop, so that a push that comes after the order is refused.
"""

from collections import OrderedDict

from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages.client_agent import PushItem
from ray_sched.core.messages.fields import AttemptKey

_REMEMBER = 10_000


class AgentBook:
    """What one incarnation of an agent knows of its attempts."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.ledger: Ledger[tuple[str, str, int]] = Ledger()
        self.is_draining = False
        self.accepted = 0
        self.most_running = 0
        self._running: dict[AttemptKey, None] = {}
        self._seen: OrderedDict[AttemptKey, None] = OrderedDict()

    def why_refused(self, item: PushItem) -> str | None:
        """Why this attempt is not taken, or None."""
        if (item.job_id, item.attempt) in self._seen:
            return "this attempt was pushed or stopped here before"
        if len(self._running) >= self.slots:
            return f"all {self.slots} slots are taken"
        if self.is_draining:
            return "the node is draining"
        return None

    def refuse(self, item: PushItem) -> None:
        """The Dispatcher is told that nothing of this attempt is here: that stays true, however often it is pushed."""
        self._see((item.job_id, item.attempt))

    def take(self, item: PushItem) -> None:
        """The attempt has a slot and its audio is in the agent's memory."""
        key = (item.job_id, item.attempt)
        self._see(key)
        self._running[key] = None
        self.accepted += 1
        self.most_running = max(self.most_running, len(self._running))
        self.ledger.open(("audio", *key), AudioState.RUNNING, item.n_bytes)

    def leave(self, key: AttemptKey) -> bool:
        """The attempt has left its slot; its audio is dropped. False if it held none."""
        if key not in self._running:
            return False
        del self._running[key]
        self.ledger.move(("audio", *key), AudioState.RELEASED)
        return True

    def stop(self, key: AttemptKey) -> bool:
        """The attempt was ordered to stop. True if it holds a slot and has to be stopped first."""
        self._see(key)
        return key in self._running

    def keep_speech(self, key: AttemptKey, n_bytes: int) -> None:
        """Speech of an attempt waits to be fetched."""
        self.ledger.open(("speech", *key), AudioState.SPOKEN, n_bytes)

    def drop_speech(self, key: AttemptKey) -> None:
        """Speech was fetched, or nobody will."""
        if self.ledger.state(("speech", *key)) is AudioState.SPOKEN:
            self.ledger.move(("speech", *key), AudioState.RELEASED)

    @property
    def running(self) -> int:
        """Attempts that hold a slot."""
        return len(self._running)

    def bytes(self) -> tuple[int, int]:
        """Bytes of audio of running attempts, and of speech that waits."""
        return self.ledger.bytes_in(AudioState.RUNNING), self.ledger.bytes_in(AudioState.SPOKEN)

    def _see(self, key: AttemptKey) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBER:
            self._seen.popitem(last=False)
