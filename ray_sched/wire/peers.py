"""What the rest of the project sees of Ray: peers, which are actors by name, and objects in the object store.

``system`` implements these with Ray; tests implement them in a few lines.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Payload = NDArray[np.uint8]
"""The bytes of one audio."""


class PeerGoneError(Exception):
    """The actor does not exist, or its process has ended for good."""


class PeerUnavailableError(Exception):
    """The actor did not answer in time, or is being restarted; the call may or may not have happened."""


class Peer(Protocol):
    """A way to call one actor."""

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method and wait for its answer, at most ``timeout_s``.

        Raises PeerGoneError, PeerUnavailableError, or the SchedError that the method raised.
        """
        ...


Post = Callable[[str, str, bytes], None]
"""Calls a method of an actor, named first, with one message, from any thread: no answer, and perhaps it gets lost."""


class Directory(Protocol):
    """Finds actors by name; handles are looked up once and again only after they failed."""

    def peer(self, actor: str) -> Peer:
        """The actor of this name, whether it exists or not. Never blocks."""
        ...


class ObjectStore(Protocol):
    """The object store."""

    def put(self, payloads: Sequence[Payload]) -> Any:
        """Store the payloads as one object. What is returned is an argument of a call, and only that.

        The called method is given what ``wire.audio_batch`` unpacks: a list of payloads, read-only views that keep the
        bytes in the store, or one payload as bytes of its own. Drop every reference on both sides to free them. Raises
        PeerUnavailableError if the store has no room for them.
        """
        ...
