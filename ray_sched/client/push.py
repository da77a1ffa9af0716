"""Pushing: the audio of assigned jobs goes to their agents, in one call for all that wait for one agent.

It is packed once (``wire.audio_batch``): little of it into the call itself, else into one object of the store.
The object of a client that has nothing else to do is put there while its job is still being asked for. The client's
brain is notified of every copy when it is made and when it is dropped.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from ray_sched.client.options import ClientOptions
from ray_sched.client.read_ahead import PendingPush, ReadAhead, ReadyPush
from ray_sched.client.sources import Source
from ray_sched.core.client.effects import ClientEffect, PushAudio
from ray_sched.core.client.transfers import Transfers
from ray_sched.core.errors import SchedError
from ray_sched.core.messages.client_agent import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Push, PushItem
from ray_sched.core.rules import push_limit_ms
from ray_sched.wire.audio_batch import pack
from ray_sched.wire.codec import encode
from ray_sched.wire.outbox import Outbox
from ray_sched.wire.peers import Directory, ObjectStore, Payload, PeerGoneError, PeerUnavailableError

_MAX_JOBS_PER_PUSH = 256
_MAX_PUSH_BYTES = 32 * 2**20
"""With 512 jobs of 160 KB in flight over four nodes a job costs 1.2 ms of CPU so, and 1.5 with 64 jobs and 16 MiB."""


class Through(Struct, frozen=True, kw_only=True):
    """Bytes of audio that were pushed, by the way they went."""

    store: int = 0
    call: int = 0

    def __sub__(self, other: "Through") -> "Through":
        """What went since then."""
        return Through(store=self.store - other.store, call=self.call - other.call)

    def __add__(self, other: "Through") -> "Through":
        """Both together."""
        return Through(store=self.store + other.store, call=self.call + other.call)


class _Lane:
    """The way to one agent: what is read for it, and what goes there together."""

    def __init__(self, outbox: "Outbox[ReadyPush, None]", reading: ReadAhead) -> None:
        self.outbox = outbox
        self.reading = reading


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
        self._lanes: dict[str, _Lane] = {}
        self._is_closed = False
        self._ahead: Any = None
        """The object that was put ahead."""
        self.through = Through()

    def push(self, pending: PendingPush) -> None:
        """Bring this job's audio to its agent."""
        if self._is_closed:
            return
        lane = self._lane(pending.push.assigned.agent)
        samples = pending.source.kept_samples
        if samples is None:
            lane.reading.add(pending)
        else:
            lane.outbox.put(ReadyPush(pending.push, samples.view(np.uint8)))

    def _lane(self, agent: str) -> _Lane:
        if agent not in self._lanes:
            outbox = Outbox(self._push_all, max_batch=_MAX_JOBS_PER_PUSH, on_lost=self._lost)
            self._lanes[agent] = _Lane(outbox, ReadAhead(self._transfers, self._perform, outbox.put))
        return self._lanes[agent]

    def _lost(self, pushes: list[ReadyPush], error: Exception) -> None:
        for ready in pushes:
            if not ready.is_taken:
                ready.take()
                self._transfers.audio.drop(ready.push.number)
            self._perform(self._transfers.failed(ready.push, f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Push nothing more; pushes under way are given up."""
        self._is_closed = True
        for lane in self._lanes.values():
            await lane.outbox.close()
            await lane.reading.close()
        self.drop_ahead()

    # --- ahead -----------------------------------------------------------------------------------------------------

    def put_ahead(self, number: int, source: Source) -> None:
        """Put the audio of a submission that was just asked for into the store, after the asking has left.

        Only if this client has nothing else to do, and the audio is in memory and does not go in the call.
        """
        if source.kept_samples is not None and source.held_bytes > self._options.inline_bytes:
            asyncio.get_running_loop().call_soon(self._put_ahead, number, source.kept_samples.view(np.uint8))

    def _put_ahead(self, number: int, payload: Payload) -> None:
        if self._is_closed or not self._transfers.begin_ahead(number):
            return
        try:
            self._ahead = self._object_store.put([payload])
        except PeerUnavailableError:  # the push itself will tell
            self._transfers.end_ahead()

    def drop_ahead(self) -> None:
        """What was put ahead is not wanted there any more."""
        self._ahead = None
        self._transfers.end_ahead()

    # --- pushes ----------------------------------------------------------------------------------------------------

    async def _push_all(self, pushes: list[ReadyPush]) -> list[None]:
        for part in _parts(pushes):
            await self._push_part(part)
        return [None] * len(pushes)

    async def _push_part(self, part: list[ReadyPush]) -> None:
        """Pack, push and drop what is still wanted, for one incarnation of an agent."""
        if self._ahead is not None and (len(part) > 1 or not self._transfers.is_ahead(part[0].push)):
            self.drop_ahead()
        pushes, payloads = self._begin(part)
        if not pushes:
            return
        agent = pushes[0].assigned.agent
        header = _describe(pushes, payloads)
        timeout_s = self._timeout_s(sum(map(len, payloads)))
        why = ""
        try:
            peer = self._directory.peer(agent)
            await peer.call("push", header, *self._pack(payloads), timeout_s=timeout_s)
        except (PeerGoneError, PeerUnavailableError, SchedError) as error:
            why = f"{agent}: {error}"
        finally:
            for push in pushes:
                self._transfers.returned(push)
        for push in pushes if why else ():
            self._perform(self._transfers.failed(push, why))

    def _begin(self, part: list[ReadyPush]) -> tuple[list[PushAudio], list[Payload]]:
        """What is still wanted of it, with its audio: from now on these pushes are under way."""
        pushes, payloads = list[PushAudio](), list[Payload]()
        for ready in part:
            payload = ready.take()
            if self._transfers.begin(ready.push):
                pushes.append(ready.push)
                payloads.append(payload)
        return pushes, payloads

    def _timeout_s(self, n_bytes: int) -> float:
        """A push may take as long as its bytes need."""
        audio_ms = n_bytes * 1000 // (SAMPLE_RATE_HZ * BYTES_PER_SAMPLE)
        options = self._options
        return push_limit_ms(audio_ms, round(options.push_timeout_s * 1000), options.push_ms_per_audio_s) / 1000

    def _pack(self, payloads: list[Payload]) -> list[Any]:
        """The audio as arguments of a call; from then on they are its only copy, as far as this call is concerned.

        Raises PeerUnavailableError if the object store has no room for it.
        """
        n_bytes = sum(map(len, payloads))
        if n_bytes <= self._options.inline_bytes:
            batch: list[Any] = [*pack(payloads)]
            self.through += Through(call=n_bytes)
        else:
            batch = [self._object_store.put(payloads) if self._ahead is None else self._ahead]
            self.through += Through(store=n_bytes)
        self._ahead = None
        payloads.clear()
        return batch


def _parts(pushes: Iterable[ReadyPush]) -> Iterator[list[ReadyPush]]:
    """What goes in one push: to one incarnation, and not too much."""
    part: list[ReadyPush] = []
    n_bytes = 0
    for ready in sorted(pushes, key=lambda ready: ready.push.assigned.incarnation):
        is_other = part and part[0].push.assigned.incarnation != ready.push.assigned.incarnation
        if is_other or n_bytes >= _MAX_PUSH_BYTES:
            yield part
            part, n_bytes = [], 0
        part.append(ready)
        n_bytes += ready.n_bytes
    if part:
        yield part


def _describe(pushes: list[PushAudio], payloads: list[Payload]) -> bytes:
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
            has_own_pass=push.assigned.has_own_pass,
            hints=push.spec.hints,
        )
        for push, payload in zip(pushes, payloads, strict=True)
    )
    return encode(Push(incarnation=pushes[0].assigned.incarnation, items=items))
