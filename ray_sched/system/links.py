"""Ray behind the Protocols of ``wire.links``: calls by actor name, and the object store."""

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
import ray.exceptions

from ray_sched.core.errors import SchedError
from ray_sched.wire.links import Link, Payload, PeerGoneError, PeerUnavailableError


class RayLink:
    """A link to one named actor. The handle is looked up once, and again after the actor has died."""

    def __init__(self, actor: str, namespace: str) -> None:
        self._actor = actor
        self._namespace = namespace
        self._handle: Any = None

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        """See ``Link.call``."""
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._look_up)
        try:
            # not wait_for: in Python 3.11 it forgets a cancellation that comes in the moment of the answer
            async with asyncio.timeout(timeout_s):
                return await getattr(self._handle, method).remote(*args)
        except ray.exceptions.ActorUnavailableError as error:
            raise PeerUnavailableError(f"{self._actor} is being restarted") from error
        except ray.exceptions.RayActorError as error:
            self._handle = None
            raise PeerGoneError(f"{self._actor} has ended") from error
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SchedError):
                raise error.cause from None
            raise
        except TimeoutError:
            raise PeerUnavailableError(f"{self._actor} did not answer {method} in {timeout_s} s") from None
        except ray.exceptions.RayError as error:
            raise PeerUnavailableError(f"{self._actor}: {type(error).__name__}") from error

    def _look_up(self) -> Any:
        try:
            return ray.get_actor(self._actor, namespace=self._namespace)
        except ValueError:
            raise PeerGoneError(f"there is no actor {self._actor!r}") from None


class RayDirectory:
    """Links by actor name, one per name and process."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._links: dict[str, RayLink] = {}

    def link(self, actor: str) -> Link:
        """See ``Directory.link``."""
        if actor not in self._links:
            self._links[actor] = RayLink(actor, self._namespace)
        return self._links[actor]


class RayDepot:
    """The object store of this process's node."""

    def put(self, payloads: Sequence[Payload]) -> Any:
        """The only reference. As a top-level argument Ray brings the object to the callee before it calls.

        Measured across two raylets, 160 KB each (CPU of all processes per payload): a list as top-level argument 5.9
        / 1.7 / 0.56 / 0.38 ms for 1 / 4 / 16 / 32 in one object; joined into one array and nested, so that the callee
        fetches it, 6.4 / 1.7 / 0.79 / 0.61 ms.
        """
        return ray.put(list(payloads))
