"""The audio ledger: every byte of audio is in exactly one state, and the sums are always known.

A submitter's audio is first only DECLARED (a path not read yet holds no memory), then HELD in its memory, STORED in
Ray while it is pushed (in the object store, or in the call if it is little), and RELEASED once the node has it or the
job ended without it. After a failed push it is HELD again. On the node it is RUNNING in the agent's memory until its
run has ended; then it is RELEASED, or its entry becomes that of the synthesised speech, SPOKEN until that was fetched.
"""

from collections.abc import Hashable
from enum import StrEnum, auto
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class AudioState(StrEnum):
    """Where a job's audio is."""

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
"""RUNNING and SPOKEN are the node's own: where audio of accepted jobs and synthesised speech start there."""


class LedgerError(Exception):
    """Bytes would have been in two states, or in none; the ledger is unchanged."""


class Ledger(Generic[KeyT]):
    """Bytes by key and state. ``bytes_in`` always equals the sum over the keys in that state."""

    def __init__(self) -> None:
        self._entries: dict[KeyT, tuple[AudioState, int]] = {}
        self._sums: dict[AudioState, int] = dict.fromkeys(AudioState, 0)
        self.released_bytes = 0
        """All bytes that were ever released."""

    def open(self, key: KeyT, state: AudioState, n_bytes: int) -> None:
        """A new entry. Raises LedgerError if the key has one."""
        if key in self._entries:
            raise LedgerError(f"{key!r} is in the ledger already")
        if n_bytes < 0:
            raise LedgerError(f"{key!r} cannot have {n_bytes} bytes")
        self._entries[key] = (state, n_bytes)
        self._sums[state] += n_bytes

    def move(self, key: KeyT, to: AudioState, n_bytes: int | None = None) -> None:
        """Bytes change their state; their number may change when audio is first read. RELEASED closes the entry.

        SPOKEN releases the audio that was run: from then on the entry stands for its speech, of ``n_bytes``.
        """
        if key not in self._entries:
            raise LedgerError(f"{key!r} is not in the ledger")
        state, had = self._entries[key]
        if to not in LEDGER_TABLE[state]:
            raise LedgerError(f"the audio of {key!r} is {state} and cannot become {to}")
        self._sums[state] -= had
        if to is AudioState.RELEASED:
            del self._entries[key]
            self.released_bytes += had
            return
        if to is AudioState.SPOKEN:  # speech is new; the audio that was run is freed in the same moment
            self.released_bytes += had
        now_has = had if n_bytes is None else n_bytes
        self._entries[key] = (to, now_has)
        self._sums[to] += now_has

    def resize(self, key: KeyT, n_bytes: int) -> None:
        """The audio has another size in the same state: one copy of it more, or one less."""
        if key not in self._entries:
            raise LedgerError(f"{key!r} is not in the ledger")
        if n_bytes < 0:
            raise LedgerError(f"{key!r} cannot have {n_bytes} bytes")
        state, had = self._entries[key]
        self._entries[key] = (state, n_bytes)
        self._sums[state] += n_bytes - had

    def state(self, key: KeyT) -> AudioState:
        """Where the key's audio is; RELEASED if the ledger does not know it (any more)."""
        entry = self._entries.get(key)
        return entry[0] if entry else AudioState.RELEASED

    def bytes_in(self, *states: AudioState) -> int:
        """Bytes in these states, or in all if none is named."""
        return sum(self._sums[state] for state in states or AudioState)

    def __len__(self) -> int:
        return len(self._entries)
