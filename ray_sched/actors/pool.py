"""A Pool's shell: handles the Registry's members messages, offers slots to the Dispatcher, decides nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from ray_sched.core.errors import Code, SchedError
from ray_sched.core.messages.pool_dispatcher import LeaseReceipt, PoolOffer
from ray_sched.core.messages.registry_pool import PoolMembers
from ray_sched.wire.auth import is_same, pool_key
from ray_sched.wire.codec import decode, encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory

if TYPE_CHECKING:  # who calls a Pool imports this, too, and needs no brain
    from ray_sched.core.leases.pool import PoolBrain

_CALL_TIMEOUT_S = 5.0


class Pool:
    """Actor ``pool:<capability>``: the only authority on its nodes' slots."""

    def __init__(self, brain: "PoolBrain", directory: Directory, key: bytes = b"") -> None:
        """``key``: of this pool, see ``wire.auth``; empty: that of a scheduler without a secret."""
        self._brain = brain
        self._key = key or pool_key(b"", brain.name)
        self._dispatcher = directory.peer("dispatcher")
        self._offers: Outbox[PoolOffer, None] = Outbox(self._send, on_lost=lambda _offers, _error: None)

    def __repr__(self) -> str:
        """Prefix of its log lines and its name in the dashboard."""
        return f"pool:{self._brain.name}"

    async def members(self, raw: bytes) -> bytes:
        """Handle the Registry's PoolMembers; reply with SlotsAcquired, as the Dispatcher's last receipt has it.

        The offer that follows goes to the Dispatcher behind the reply. Old members change nothing. Raises
        UNAUTHENTICATED if they are not the Registry's.
        """
        members = decode(raw, PoolMembers)
        if not is_same(members.key, self._key):
            raise SchedError(Code.UNAUTHENTICATED, f"these members of {members.pool!r} are not from the registry")
        offer = self._brain.handle_members(members)
        if offer:
            self._offers.put(offer)
        return encode(self._brain.acquired)

    async def _send(self, offers: Sequence[PoolOffer]) -> list[None]:
        """Send the newest offer, which is complete; one that is lost is followed by another within a second."""
        sealed = structs.replace(offers[-1], key=self._key)
        raw = await self._dispatcher.call("offer", encode(sealed), timeout_s=_CALL_TIMEOUT_S)
        self._brain.handle_receipt(offers[-1], decode(raw, LeaseReceipt))
        return [None] * len(offers)
