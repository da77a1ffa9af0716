"""What the rest of the project sees of Ray: links to actors by name, and parcels in the object store.

The room ``system`` implements these; tests implement them in a few lines.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Payload = NDArray[np.uint8]


class PeerGoneError(Exception):
    """The actor does not exist, or its process has ended for good."""


class PeerUnavailableError(Exception):
    """The actor did not answer in time, or is being restarted; the call may or may not have happened."""


class Link(Protocol):
    """A way to call one actor."""

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        """Call a method and wait for its answer, at most ``timeout_s``.

        Raises PeerGoneError, PeerUnavailableError, or the SchedError that the method raised.
        """
        ...


class Directory(Protocol):
    """Finds actors by name; handles are looked up once and again only after they failed."""

    def link(self, actor: str) -> Link:
        """The link to the actor of this name. Never blocks."""
        ...


class Depot(Protocol):
    """The object store."""

    def put(self, payload: Payload) -> Any:
        """Store the payload; what is returned travels in a call. Drop every reference to it to free the bytes."""
        ...

    async def open(self, parcel: Any) -> Payload:
        """The payload of a parcel that came with a call; a read-only view that keeps the bytes in the store."""
        ...
