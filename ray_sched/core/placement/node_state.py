"""A node as the Dispatcher sees it: its leases, what is in flight there, and how its last attempts ended."""

from collections import deque
from collections.abc import Callable, Iterable
from copy import copy

from ray_sched.core.capability import Capability
from ray_sched.core.leases.lease import LeaseEvent, LeaseState, next_lease_state
from ray_sched.core.messages.fields import AttemptKey
from ray_sched.core.placement.speeds import UNKNOWN_CLASS
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import SelectionRules

_RECENT = 5
_MAX_DOUBLINGS = 5


class NodeState:
    """One incarnation of a node: its leases, the attempts on its slots, and how the last ones ended.

    Never oversold: a slot is in ``_free`` or on exactly one attempt, and every change goes through the lease table.
    """

    def __init__(self, node: str, incarnation: int, capability: Capability) -> None:
        self.node = node
        self.incarnation = incarnation
        self.capability = capability
        self.agent = ""
        self.pool = ""
        self.total_slots = 0
        self.why: Reason | None = Reason.NOT_READY
        """Why the pool leases none of its slots."""
        self.because = ""
        """The pool's own words for it, for people."""
        self.term_ends_at_ms = 0
        self.loads_in_ms = 0
        """Its model is unloaded: about how long a job that comes now waits for it."""
        self.in_flight_ms = 0
        """Audio of the attempts on its slots."""
        self.busy_part = 0.0
        """Of its slots, those without a lease aside; kept because it is looked at much more often than it changes."""
        self.speed_class = UNKNOWN_CLASS
        self.share: int | None = None
        """Slots that a newcomer is trusted with: 1, and twice as many after each run that ends well; None: with all."""
        self.has_run = False
        """A run has ended well on it."""
        self.quarantined_until_ms = 0
        self.resting_until_ms = 0
        self.reserved_for = ""
        """Id of the one job that may be assigned here, an exclusive one; empty: any job may."""
        self.unavailable_until_ms: dict[str, int] = {}
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._failures_in_a_row = 0
        self._refusals_in_a_row = 0
        self._leases: dict[int, LeaseState] = {}
        self._free: list[int] = []
        self._acquired: dict[AttemptKey, tuple[int, int]] = {}
        """Attempt to its slot and its audio in milliseconds."""
        self._on_leases: Callable[[NodeState], None] | None = None

    def watch(self, on_leases: "Callable[[NodeState], None] | None") -> None:
        """Call this, or nobody, whenever the number of leases or of free ones may have changed."""
        self._on_leases = on_leases

    def twin(self) -> "NodeState":
        """Another one like it, to be changed by who asks what would be then. Nobody watches it."""
        twin = copy(self)
        own = {"_leases": dict(self._leases), "_free": list(self._free), "_acquired": dict(self._acquired)}
        vars(twin).update(own, unavailable_until_ms=dict(self.unavailable_until_ms), _on_leases=None)
        return twin

    def _notify(self) -> None:
        n_busy = len(self._acquired)
        self.busy_part = n_busy / (n_busy + len(self._free)) if n_busy else 0.0
        if self._on_leases:
            self._on_leases(self)

    def lease(self, slots: int, term_ends_at_ms: int) -> None:
        """Handle a pool's offer: slots 0 to ``slots`` - 1 until the term ends; the others are revoked."""
        self.term_ends_at_ms = term_ends_at_ms
        for slot in range(slots):
            state = self._leases.get(slot)
            if state is None:
                self._leases[slot] = LeaseState.OFFERED
                self._free.append(slot)
            else:
                self._leases[slot] = next_lease_state(state, LeaseEvent.RENEW)
        if len(self._leases) > slots:
            self._end([slot for slot in self._leases if slot >= slots], LeaseEvent.REVOKE)
        self._notify()

    def expire(self, now_ms: int) -> None:
        """End the leases if their term is over."""
        if now_ms >= self.term_ends_at_ms:
            self._end(list(self._leases), LeaseEvent.EXPIRE)
            self._notify()

    def acquire(self, attempt: AttemptKey, audio_ms: int) -> None:
        """Put an attempt on a free slot. Raises IndexError if there is none."""
        slot = self._free.pop()
        self._leases[slot] = next_lease_state(self._leases[slot], LeaseEvent.ACQUIRE)
        self._acquired[attempt] = (slot, audio_ms)
        self.in_flight_ms += audio_ms
        self._notify()

    def adopt(self, attempt: AttemptKey, audio_ms: int) -> bool:
        """Put an attempt that is on the node already on a slot, leased or not. False if all slots are taken."""
        if self._free:
            self.acquire(attempt, audio_ms)
            return True
        if self.n_acquired >= self.total_slots:
            return False
        slot = next(slot for slot in range(self.total_slots) if slot not in self._leases)
        self._leases[slot] = LeaseState.ENDING
        self._acquired[attempt] = (slot, audio_ms)
        self.in_flight_ms += audio_ms
        self._notify()
        return True

    def release(self, attempt: AttemptKey) -> bool:
        """The attempt has left its slot. False if it held none."""
        if attempt not in self._acquired:
            return False
        slot, audio_ms = self._acquired.pop(attempt)
        if self.reserved_for == attempt[0]:
            self.reserved_for = ""
        self.in_flight_ms -= audio_ms
        state = next_lease_state(self._leases[slot], LeaseEvent.RELEASE)
        if state is LeaseState.OFFERED:
            self._leases[slot] = state
            self._free.append(slot)
        else:
            del self._leases[slot]
        self._notify()
        return True

    def _end(self, slots: Iterable[int], event: LeaseEvent) -> None:
        for slot in slots:
            state = next_lease_state(self._leases[slot], event)
            if state is LeaseState.ENDING:
                self._leases[slot] = state
            else:
                del self._leases[slot]
                self._free.remove(slot)

    @property
    def n_free(self) -> int:
        """Leases that can be acquired now."""
        return len(self._free)

    @property
    def n_acquired(self) -> int:
        """Slots with an attempt on them, also those whose lease is ending."""
        return len(self._acquired)

    @property
    def n_leased(self) -> int:
        """Leases of any living state."""
        return len(self._leases)

    def holds(self, attempt: AttemptKey) -> bool:
        """Whether the attempt has a slot here."""
        return attempt in self._acquired

    def attempts(self) -> list[AttemptKey]:
        """The attempts that hold a slot."""
        return list(self._acquired)

    def audio_on_slots(self) -> list[tuple[AttemptKey, int]]:
        """The attempts that hold a slot, each with its audio in milliseconds."""
        return [(attempt, audio_ms) for attempt, (_, audio_ms) in self._acquired.items()]

    def reserve_for(self, job_id: str) -> None:
        """Nobody but this job gets a slot here until it has left its own; empty: anybody may."""
        self.reserved_for = job_id

    def begin_slowly(self) -> None:
        """It has come to others that run already: what it can do has to be seen first."""
        self.share = 1

    @property
    def is_beyond_its_share(self) -> bool:
        """Whether one more attempt is more than a newcomer is trusted with."""
        return self.share is not None and len(self._acquired) >= self.share

    def record_outcome(self, *, is_success: bool, now_ms: int, rules: SelectionRules) -> bool:
        """Note how an attempt ended on this node. True if that put the node in quarantine."""
        self._recent.append(is_success)
        self.has_run = self.has_run or is_success
        if self.share is not None and is_success:
            self.share = self.share * 2 if self.share * 2 < self.total_slots else None
        self._failures_in_a_row = 0 if is_success else self._failures_in_a_row + 1
        failures = sum(not ok for ok in self._recent)
        if is_success or (
            self._failures_in_a_row < rules.quarantine_failures_in_a_row
            and failures < rules.quarantine_failures_of_last_5
        ):
            return False
        self.quarantined_until_ms = now_ms + rules.quarantine_ms
        self._recent.clear()
        self._failures_in_a_row = 0
        return True

    def back_off_after_refusal(self, now_ms: int, rules: SelectionRules) -> None:
        """Leave the node alone for a while, longer with each refusal in a row."""
        self.resting_until_ms = now_ms + rules.refusal_rest_ms * 2 ** min(self._refusals_in_a_row, _MAX_DOUBLINGS)
        self._refusals_in_a_row += 1

    def record_acceptance(self) -> None:
        """The node took a job: refusals are forgotten."""
        self._refusals_in_a_row = 0
