"""Pushing: the audio of assigned jobs goes to their agents, one object and one call for all that wait for one agent.

The audio is read when a node is ready for it, packed once, put into the object store once, and dropped from there as
soon as the agent has answered. The ledger follows every byte.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from ray_sched.client.sources import Source
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.ledger import AudioState, Ledger
from ray_sched.core.messages import Assigned, AudioUnreadable, ClientMessage, JobSpec, Push, PushFailed, PushItem
from ray_sched.wire.codec import encode
from ray_sched.wire.links import Depot, Directory, Payload, PeerGoneError, PeerUnavailableError
from ray_sched.wire.outbox import Outbox

_MAX_JOBS_PER_PUSH = 64
_MAX_PUSH_BYTES = 16 * 2**20
_MAX_READING_S = 0.25
"""What has been read goes when the reading of the others takes longer than this."""

LedgerKey = tuple[str, str | int]


class Stored:
    """Audio in the object store, for as long as this holds it."""

    def __init__(self, key: LedgerKey, parcel: Any) -> None:
        self.key = key
        self.parcel = parcel
        """The only reference."""


class Shipment(Struct, frozen=True):
    """A job on its way to the agent it was assigned to."""

    assigned: Assigned
    spec: JobSpec
    source: Source
    stored: Stored | None = None
    """Its audio, if it was stored ahead of the assignment."""


class Pusher:
    """Brings audio to agents. One Outbox per agent, so that what waits for one goes together."""

    def __init__(
        self,
        directory: Directory,
        depot: Depot,
        ledger: Ledger[LedgerKey],
        say: Callable[[ClientMessage], None],
        timeout_s: float,
    ) -> None:
        self._directory = directory
        self._depot = depot
        self._ledger = ledger
        self._say = say
        self._timeout_s = timeout_s
        self._outboxes: dict[str, Outbox[Shipment, None]] = {}
        self._is_closed = False
        self._numbers = itertools.count(1)
        self._stored: set[Stored] = set()

    def push(self, shipment: Shipment) -> None:
        """Bring this job's audio to its agent."""
        if self._is_closed:
            return
        agent = shipment.assigned.agent
        if agent not in self._outboxes:
            self._outboxes[agent] = Outbox(self._ship, max_batch=_MAX_JOBS_PER_PUSH, on_lost=self._lost)
        self._outboxes[agent].put(shipment)

    def _lost(self, shipments: list[Shipment], error: Exception) -> None:
        for shipment in shipments:
            self._fail(shipment, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Push nothing more."""
        self._is_closed = True
        for outbox in self._outboxes.values():
            await outbox.close()
        for stored in list(self._stored):
            self.let_go(stored)

    async def _ship(self, shipments: list[Shipment]) -> list[None]:
        """Read, pack, put, push and drop; in parts if it is much or takes long."""
        clock = asyncio.get_running_loop().time
        for incarnation in sorted({shipment.assigned.incarnation for shipment in shipments}):
            mine = [shipment for shipment in shipments if shipment.assigned.incarnation == incarnation]
            part: list[tuple[Shipment, Payload]] = []
            n_bytes, push_at_s = 0, clock() + _MAX_READING_S
            for shipment in mine:
                audio = await self._read(shipment)
                if audio is None:
                    continue
                part.append((shipment, audio))
                n_bytes += len(audio)
                if n_bytes >= _MAX_PUSH_BYTES or clock() >= push_at_s:
                    await self._push_part(part)
                    part, n_bytes, push_at_s = [], 0, clock() + _MAX_READING_S
            if part:
                await self._push_part(part)
        return [None] * len(shipments)

    async def _read(self, shipment: Shipment) -> Payload | None:
        """The audio as bytes; a job whose audio cannot be read fails with a clear refusal."""
        try:
            samples = await shipment.source.samples()
        except SchedError as error:
            refusal = Refusal(code=error.code, message=error.message)
        except Exception as error:  # noqa: BLE001  # a user's callable may raise anything; it fails this job only
            refusal = Refusal(
                code=Code.INVALID_AUDIO, message=f"the audio source raised {type(error).__name__}: {error}"
            )
        else:
            return samples.view(np.uint8)
        assigned = shipment.assigned
        self._say(AudioUnreadable(job_id=assigned.job_id, attempt=assigned.attempt, refusal=refusal))
        return None

    async def _push_part(self, part: list[tuple[Shipment, Payload]]) -> None:
        agent = part[0][0].assigned.agent
        stored: Stored | None = None
        try:
            stored = self._store_part(part)
            header = self._describe(part)
            await self._directory.link(agent).call("push", header, stored.parcel, timeout_s=self._timeout_s)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            for shipment, _ in part:
                self._fail(shipment, f"{agent}: {error}")
        finally:
            if stored:
                self.let_go(stored)

    def _store_part(self, part: list[tuple[Shipment, Payload]]) -> Stored:
        """One object for all; what was stored ahead serves a job that travels alone."""
        ahead = [shipment.stored for shipment, _ in part if shipment.stored]
        if len(part) == len(ahead) == 1:
            return ahead[0]
        for stored in ahead:
            self.let_go(stored)
        return self.store([audio for _, audio in part])

    def store(self, payloads: list[Payload]) -> Stored:
        """Put the audio into the object store. Raises PeerUnavailableError if there is no room."""
        parcel = self._depot.put(payloads)
        stored = Stored(("push", next(self._numbers)), parcel)
        self._ledger.open(stored.key, AudioState.STORED, sum(map(len, payloads)))
        self._stored.add(stored)
        return stored

    def let_go(self, stored: Stored) -> None:
        """Free what was stored, unless it was before; a call that still carries it keeps it until it is over."""
        if stored in self._stored:
            stored.parcel = None
            self._stored.remove(stored)
            self._ledger.move(stored.key, AudioState.RELEASED)

    def _describe(self, part: list[tuple[Shipment, Payload]]) -> bytes:
        """The description of a push; its audio is an object of its own."""
        items = tuple(
            PushItem(
                job_id=shipment.assigned.job_id,
                attempt=shipment.assigned.attempt,
                src=shipment.spec.src,
                tgt=shipment.spec.tgt,
                services=shipment.spec.services,
                wants_partials=shipment.spec.wants_partials,
                n_bytes=len(audio),
                ticket=shipment.assigned.ticket,
            )
            for shipment, audio in part
        )
        incarnation = part[0][0].assigned.incarnation
        return encode(Push(incarnation=incarnation, items=items))

    def _fail(self, shipment: Shipment, why: str) -> None:
        assigned = shipment.assigned
        self._say(PushFailed(job_id=assigned.job_id, attempt=assigned.attempt, why=why[:1000]))
