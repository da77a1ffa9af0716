"""What the outside has to offer: the store, as Protocols. The domain's verbs, and the contract in the docstrings."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct


class SaveJob(Struct, frozen=True, kw_only=True, tag=True):
    """Write a job's whole record, its request id within. Saved again at every change of state."""

    job_id: str
    is_open: bool
    """False once the job is terminal: from then on the store may drop the record by itself, after a time of its own."""
    record: bytes
    """The complete record, JSON; nothing is left out because it equals a default. Never audio."""


class ForgetJob(Struct, frozen=True, kw_only=True, tag=True):
    """Remove a job's record."""

    job_id: str


class SaveNode(Struct, frozen=True, kw_only=True, tag=True):
    """Write what is known of a node: declaration, incarnation, whether it is drained; JSON."""

    node_id: str
    record: bytes


class ForgetNode(Struct, frozen=True, kw_only=True, tag=True):
    """Remove a node that is gone."""

    node_id: str


class SaveSpeeds(Struct, frozen=True, kw_only=True, tag=True):
    """Write the learned speeds of one node: pair to audio-seconds per second."""

    node_id: str
    speeds: dict[str, float]


Change = SaveJob | ForgetJob | SaveNode | ForgetNode | SaveSpeeds


class StoreDownError(Exception):
    """The store did not answer within its bound; nothing is known of the changes that were under way."""


class StoreEmptiedError(Exception):
    """The store answers and has taken the changes, but what was saved before is not there any more.

    Raised by every commit until all of it is saved again and ``vouch`` was called.
    """


class Store(Protocol):
    """The one source of truth. Every method raises :class:`StoreDownError` after a bounded wait, never hangs."""

    async def vouch(self) -> None:
        """Say that all this actor has ever saved is there: from now on a commit notices if it is lost."""
        ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Write all changes, in order, in as few transactions and round trips as they fit in; mostly one.

        Idempotent: may be repeated. Without changes it is the question whether the store is there. Raises
        :class:`StoreEmptiedError`, the changes being written.
        """
        ...

    def load_jobs(self) -> AsyncIterator[bytes]:
        """Every job record, of terminal jobs too, each once, in no order, a page at a time."""
        ...

    async def load_nodes(self) -> dict[str, bytes]:
        """Every node record by node id."""
        ...

    async def load_speeds(self) -> dict[str, dict[str, float]]:
        """Learned speeds: node id to pair to audio-seconds per second."""
        ...

    async def ping(self) -> float:
        """Milliseconds of one round trip."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...
