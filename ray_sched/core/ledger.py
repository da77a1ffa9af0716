"""The audio ledger: every piece of audio has one entry in exactly one state, and the sums are always known.

A submitter has one entry for each job it has submitted: DECLARED while nothing of it is in memory (a path not read
yet), HELD while its samples are, STORED while a push is under way (its copy is in the object store, or in the call if
it is little), or its copy was put there while the job is still being asked for. After the push it is HELD again if the
user gave it in memory, else DECLARED. RELEASED once its job is over, whatever it was before; a copy that is on its way
then stays STORED until its push has returned.

A node has one entry for each attempt it has accepted: RUNNING while the audio is in the agent's memory, until its run
has ended; then it is RELEASED, or becomes that of the synthesised speech, SPOKEN until that was fetched.
"""

from collections.abc import Hashable
from enum import StrEnum, auto
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class AudioState(StrEnum):
    """Where a piece of audio is."""

    DECLARED = auto()
    HELD = auto()
    STORED = auto()
    RUNNING = auto()
    SPOKEN = auto()
    RELEASED = auto()


LEDGER_TABLE: dict[AudioState, frozenset[AudioState]] = {
    AudioState.DECLARED: frozenset({AudioState.HELD, AudioState.RELEASED}),
    AudioState.HELD: frozenset({AudioState.STORED, AudioState.DECLARED, AudioState.RELEASED}),
    AudioState.STORED: frozenset({AudioState.HELD, AudioState.DECLARED, AudioState.RELEASED}),
    AudioState.RUNNING: frozenset({AudioState.SPOKEN, AudioState.RELEASED}),
    AudioState.SPOKEN: frozenset({AudioState.RELEASED}),
    AudioState.RELEASED: frozenset(),
}
"""The first three rows are a submitter's, RUNNING and SPOKEN a node's."""


class LedgerError(Exception):
    """Bytes would have been in two states, or in none; the ledger is unchanged."""


class Ledger(Generic[KeyT]):
    """Bytes by key and state. ``bytes_in`` always equals the sum over the keys in that state."""

    def __init__(self) -> None:
        self._entries: dict[KeyT, tuple[AudioState, int]] = {}
        self._sums: dict[AudioState, int] = dict.fromkeys(AudioState, 0)
        self.released_bytes = 0
        """All bytes that were ever let go, whether their entry was closed with them or not."""

    def open(self, key: KeyT, state: AudioState, n_bytes: int) -> None:
        """A new entry. Raises LedgerError if the key has one."""
        if key in self._entries:
            raise LedgerError(f"{key!r} is in the ledger already")
        if n_bytes < 0:
            raise LedgerError(f"{key!r} cannot have {n_bytes} bytes")
        self._entries[key] = (state, n_bytes)
        self._sums[state] += n_bytes

    def move(self, key: KeyT, to: AudioState, n_bytes: int | None = None) -> None:
        """An entry changes its state, and its bytes if ``n_bytes`` is given. RELEASED closes it.

        SPOKEN releases the audio that was run: from then on the entry is that of its speech, of ``n_bytes``. Raises
        LedgerError, and changes nothing, if there is no such entry or the table has no such change.
        """
        if key not in self._entries:
            raise LedgerError(f"{key!r} is not in the ledger")
        state, n_bytes_before = self._entries[key]
        if to not in LEDGER_TABLE[state]:
            raise LedgerError(f"the audio of {key!r} is {state} and cannot become {to}")
        self._sums[state] -= n_bytes_before
        if to is AudioState.RELEASED:
            del self._entries[key]
            self.released_bytes += n_bytes_before
            return
        n_bytes_now = n_bytes_before if n_bytes is None else n_bytes
        # speech is new: the audio that was run is freed in the same moment
        n_kept = 0 if to is AudioState.SPOKEN else n_bytes_now
        self.released_bytes += max(n_bytes_before - n_kept, 0)
        self._entries[key] = (to, n_bytes_now)
        self._sums[to] += n_bytes_now

    def resize(self, key: KeyT, n_bytes: int) -> None:
        """An entry has another size in the same state: of its audio there is a copy more, or a copy less."""
        if key not in self._entries:
            raise LedgerError(f"{key!r} is not in the ledger")
        if n_bytes < 0:
            raise LedgerError(f"{key!r} cannot have {n_bytes} bytes")
        state, n_bytes_before = self._entries[key]
        self._entries[key] = (state, n_bytes)
        self._sums[state] += n_bytes - n_bytes_before
        self.released_bytes += max(n_bytes_before - n_bytes, 0)

    def state(self, key: KeyT) -> AudioState:
        """Where the key's audio is; RELEASED if the ledger does not know it (any more)."""
        entry = self._entries.get(key)
        return entry[0] if entry else AudioState.RELEASED

    def bytes_in(self, *states: AudioState) -> int:
        """Bytes in these states, or in all if none is named."""
        return sum(self._sums[state] for state in states or AudioState)

    def __len__(self) -> int:
        return len(self._entries)
