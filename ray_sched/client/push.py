"""Pushing: the audio of assigned jobs goes to their agents, in one call for all that wait for one agent.

The audio is read when a node is ready for it, packed once (``wire.parcel``: into the call itself, or as one object
into the store if it is much), and dropped as soon as the agent has answered. The ledger follows every byte.
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
from ray_sched.core.messages.client_agent import Push, PushItem
from ray_sched.core.messages.client_dispatcher import Assigned, AudioUnreadable, ClientMessage, JobSpec, PushFailed
from ray_sched.core.rules import INLINE_BYTES
from ray_sched.wire.audio_batch import pack
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, ObjectStore, Payload, PeerGoneError, PeerUnavailableError

_MAX_JOBS_PER_PUSH = 64
_MAX_PUSH_BYTES = 16 * 2**20
_MAX_READING_S = 0.25
"""What has been read goes when the reading of the others takes longer than this."""

LedgerKey = tuple[str, str | int]


class PendingPush(Struct, frozen=True):
    """A job on its way to the agent it was assigned to."""

    assigned: Assigned
    spec: JobSpec
    source: Source


class Pusher:
    """Brings audio to agents. One Outbox per agent, so that what waits for one goes together."""

    def __init__(
        self,
        directory: Directory,
        object_store: ObjectStore,
        ledger: Ledger[LedgerKey],
        send: Callable[[ClientMessage], None],
        timeout_s: float,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        """``inline_bytes``: a push of more audio than this goes through the object store."""
        self._directory = directory
        self._object_store = object_store
        self._ledger = ledger
        self._send_message = send
        self._timeout_s = timeout_s
        self._inline_bytes = inline_bytes
        self._outboxes: dict[str, Outbox[PendingPush, None]] = {}
        self._is_closed = False
        self._numbers = itertools.count(1)

    def push(self, pending: PendingPush) -> None:
        """Bring this job's audio to its agent."""
        if self._is_closed:
            return
        agent = pending.assigned.agent
        if agent not in self._outboxes:
            self._outboxes[agent] = Outbox(self._push_all, max_batch=_MAX_JOBS_PER_PUSH, on_lost=self._lost)
        self._outboxes[agent].put(pending)

    def _lost(self, pushes: list[PendingPush], error: Exception) -> None:
        for pending in pushes:
            self._fail(pending, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Push nothing more."""
        self._is_closed = True
        for outbox in self._outboxes.values():
            await outbox.close()

    async def _push_all(self, pushes: list[PendingPush]) -> list[None]:
        """Read, pack, put, push and drop; in parts if it is much or takes long."""
        clock = asyncio.get_running_loop().time
        for incarnation in sorted({pending.assigned.incarnation for pending in pushes}):
            mine = [pending for pending in pushes if pending.assigned.incarnation == incarnation]
            part: list[tuple[PendingPush, Payload]] = []
            n_bytes, push_at_s = 0, clock() + _MAX_READING_S
            for pending in mine:
                audio = await self._read(pending)
                if audio is None:
                    continue
                part.append((pending, audio))
                n_bytes += len(audio)
                if n_bytes >= _MAX_PUSH_BYTES or clock() >= push_at_s:
                    await self._push_part(part)
                    part, n_bytes, push_at_s = [], 0, clock() + _MAX_READING_S
            if part:
                await self._push_part(part)
        return [None] * len(pushes)

    async def _read(self, pending: PendingPush) -> Payload | None:
        """The audio as bytes; a job whose audio cannot be read fails with a clear refusal."""
        try:
            samples = await pending.source.samples()
        except SchedError as error:
            refusal = Refusal(code=error.code, message=error.message)
        except Exception as error:  # noqa: BLE001  # a user's callable may raise anything; it fails this job only
            refusal = Refusal(
                code=Code.INVALID_AUDIO, message=f"the audio source raised {type(error).__name__}: {error}"
            )
        else:
            return samples.view(np.uint8)
        assigned = pending.assigned
        self._send_message(AudioUnreadable(job_id=assigned.job_id, attempt=assigned.attempt, refusal=refusal))
        return None

    async def _push_part(self, part: list[tuple[PendingPush, Payload]]) -> None:
        agent = part[0][0].assigned.agent
        key = ("push", next(self._numbers))
        self._ledger.open(key, AudioState.STORED, sum(len(audio) for _, audio in part))
        try:
            header = self._describe(part)
            peer = self._directory.peer(agent)
            await peer.call("push", header, *self._pack([audio for _, audio in part]), timeout_s=self._timeout_s)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            for pending, _ in part:
                self._fail(pending, f"{agent}: {error}")
        finally:
            self._ledger.move(key, AudioState.RELEASED)

    def _pack(self, payloads: list[Payload]) -> list[Any]:
        """The audio as arguments of a call. Raises PeerUnavailableError if the object store has no room for it."""
        if sum(map(len, payloads)) <= self._inline_bytes:
            return [*pack(payloads)]
        return [self._object_store.put(payloads)]

    def _describe(self, part: list[tuple[PendingPush, Payload]]) -> bytes:
        """The description of a push."""
        items = tuple(
            PushItem(
                job_id=pending.assigned.job_id,
                attempt=pending.assigned.attempt,
                src=pending.spec.src,
                tgt=pending.spec.tgt,
                services=pending.spec.services,
                wants_partials=pending.spec.wants_partials,
                n_bytes=len(audio),
                token=pending.assigned.token,
            )
            for pending, audio in part
        )
        incarnation = part[0][0].assigned.incarnation
        return encode(Push(incarnation=incarnation, items=items))

    def _fail(self, pending: PendingPush, why: str) -> None:
        assigned = pending.assigned
        self._send_message(PushFailed(job_id=assigned.job_id, attempt=assigned.attempt, why=why[:1000]))
