"""Pushing: the audio of assigned jobs goes to their agents, in one call for all that wait for one agent.

The audio is read when a node is ready for it, packed once (``wire.audio_batch``: into the call itself, or as one
object into the store if it is much), and dropped as soon as it is packed unless its user gave it in memory. The
client's brain is notified of every copy when it is made and when it is dropped.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import Struct

from ray_sched.client.options import ClientOptions
from ray_sched.client.sources import Source
from ray_sched.core.client.effects import ClientEffect, PushAudio
from ray_sched.core.client.transfers import Transfers
from ray_sched.core.errors import Refusal, SchedError
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Push, PushItem
from ray_sched.core.rules import push_limit_ms
from ray_sched.wire.audio_batch import pack
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, ObjectStore, Payload, PeerGoneError, PeerUnavailableError

_MAX_JOBS_PER_PUSH = 64
_MAX_PUSH_BYTES = 16 * 2**20
_MAX_READING_S = 0.25
"""What has been read goes when the reading of the others takes longer than this."""


class PendingPush(Struct, frozen=True):
    """A job on its way to the agent it was assigned to."""

    push: PushAudio
    source: Source


class _Part:
    """Jobs whose audio was read and goes in one call."""

    def __init__(self) -> None:
        self.pushes: list[PushAudio] = []
        self.payloads: list[Payload] = []

    def add(self, push: PushAudio, payload: Payload) -> None:
        self.pushes.append(push)
        self.payloads.append(payload)

    def filtered(self, is_wanted: Callable[[PushAudio], bool]) -> "_Part":
        """Only those jobs; the audio of the others is let go."""
        wanted = _Part()
        for push, payload in zip(self.pushes, self.payloads, strict=True):
            if is_wanted(push):
                wanted.add(push, payload)
        self.payloads.clear()
        return wanted

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.payloads))


class Pusher:
    """Brings audio to agents. One Outbox per agent, so that what waits for one goes together."""

    def __init__(
        self,
        transfers: Transfers,
        directory: Directory,
        object_store: ObjectStore,
        perform: Callable[[list[ClientEffect]], None],
        options: ClientOptions,
    ) -> None:
        """``perform`` carries out the effects that ``transfers`` answers with, at once."""
        self._transfers = transfers
        self._directory = directory
        self._object_store = object_store
        self._perform = perform
        self._options = options
        self._outboxes: dict[str, Outbox[PendingPush, None]] = {}
        self._is_closed = False

    def push(self, pending: PendingPush) -> None:
        """Bring this job's audio to its agent."""
        if self._is_closed:
            return
        agent = pending.push.assigned.agent
        if agent not in self._outboxes:
            self._outboxes[agent] = Outbox(self._push_all, max_batch=_MAX_JOBS_PER_PUSH, on_lost=self._lost)
        self._outboxes[agent].put(pending)

    def _lost(self, pushes: list[PendingPush], error: Exception) -> None:
        for pending in pushes:
            self._perform(self._transfers.failed(pending.push, f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Push nothing more; pushes under way are given up."""
        self._is_closed = True
        for outbox in self._outboxes.values():
            await outbox.close()

    async def _push_all(self, pushes: list[PendingPush]) -> list[None]:
        for incarnation in sorted({pending.push.assigned.incarnation for pending in pushes}):
            await self._push_to([pending for pending in pushes if pending.push.assigned.incarnation == incarnation])
        return [None] * len(pushes)

    async def _push_to(self, pushes: list[PendingPush]) -> None:
        """Read, pack, put, push and drop, for one incarnation of an agent; in parts if it is much or takes long."""
        clock = asyncio.get_running_loop().time
        part, push_at_s = _Part(), clock() + _MAX_READING_S
        try:
            for pending in pushes:
                if self._transfers.is_wanted(pending.push.number):
                    await self._read(pending, part)
                if part.pushes and (part.n_bytes >= _MAX_PUSH_BYTES or clock() >= push_at_s):
                    going, part, push_at_s = part, _Part(), clock() + _MAX_READING_S
                    await self._push_part(going)
            going, part = part, _Part()
            if going.pushes:
                await self._push_part(going)
        finally:
            for push in part.pushes:  # none, unless the client is being closed
                self._transfers.audio.drop(push.number)

    async def _read(self, pending: PendingPush, part: _Part) -> None:
        """Add the audio to the part as bytes; a job whose audio cannot be read fails with a clear refusal."""
        try:
            samples = await pending.source.samples()
        except SchedError as error:
            refusal = Refusal(code=error.code, message=error.message)
        else:
            if self._transfers.is_wanted(pending.push.number):  # still
                self._transfers.audio.read(pending.push.number, samples.nbytes)
                part.add(pending.push, samples.view(np.uint8))
            return
        self._perform(self._transfers.unreadable(pending.push, refusal))

    async def _push_part(self, part: _Part) -> None:
        """Push what is still wanted."""
        part = part.filtered(self._transfers.begin)
        if not part.pushes:
            return
        agent = part.pushes[0].assigned.agent
        header = _describe(part)
        timeout_s = self._timeout_s(part)
        why = ""
        try:
            peer = self._directory.peer(agent)
            await peer.call("push", header, *self._pack(part), timeout_s=timeout_s)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            why = f"{agent}: {error}"
        finally:
            for push in part.pushes:
                self._transfers.returned(push)
        for push in part.pushes if why else ():
            self._perform(self._transfers.failed(push, why))

    def _timeout_s(self, part: _Part) -> float:
        """A push may take as long as its bytes need."""
        audio_ms = part.n_bytes * 1000 // (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
        options = self._options
        return push_limit_ms(audio_ms, round(options.push_timeout_s * 1000), options.push_ms_per_audio_s) / 1000

    def _pack(self, part: _Part) -> list[Any]:
        """The audio as arguments of a call; from then on they are its only copy, as far as this call is concerned.

        Raises PeerUnavailableError if the object store has no room for it.
        """
        payloads, part.payloads = part.payloads, []
        if sum(map(len, payloads)) <= self._options.inline_bytes:
            return [*pack(payloads)]
        return [self._object_store.put(payloads)]


def _describe(part: _Part) -> bytes:
    items = tuple(
        PushItem(
            job_id=push.assigned.job_id,
            attempt=push.assigned.attempt,
            src=push.spec.src,
            tgt=push.spec.tgt,
            services=push.spec.services,
            wants_partials=push.spec.wants_partials,
            n_bytes=len(payload),
            token=push.assigned.token,
        )
        for push, payload in zip(part.pushes, part.payloads, strict=True)
    )
    return encode(Push(incarnation=part.pushes[0].assigned.incarnation, items=items))
