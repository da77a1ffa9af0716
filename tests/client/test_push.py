"""What the pusher does and no longer does."""

import asyncio
from typing import Any

import numpy as np

from ray_sched.client.options import ClientOptions
from ray_sched.client.push import Pusher
from ray_sched.client.read_ahead import PendingPush
from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, PushAudio
from ray_sched.core.messages.client_dispatcher import Assigned, JobSpec
from ray_sched.wire.peers import Peer
from tests.support.audio import source_of
from tests.support.in_process import MemoryObjectStore, Network


class NoteTimeouts:
    """A network that takes every push, and notes how long it might have taken."""

    def __init__(self) -> None:
        self.timeouts_s: list[float] = []
        self.is_called = asyncio.Event()

    def peer(self, _actor: str) -> Peer:
        return self

    async def call(self, _method: str, *_args: Any, timeout_s: float) -> Any:
        self.timeouts_s.append(timeout_s)
        self.is_called.set()


SPEC = JobSpec(request_id="r", src="en", tgt="en")


async def test_an_assignment_that_comes_when_the_client_has_closed_brings_no_audio_anywhere() -> None:
    network, performed = Network(), list[ClientEffect]()
    brain = ClientBrain("c1", 1, 0)
    brain.open(1, SPEC, 32)
    pusher = Pusher(brain.transfers, network, MemoryObjectStore(), performed.extend, ClientOptions())
    assigned = Assigned(job_id="j1", attempt=1, node="a", agent="agent:a", incarnation=1)
    pending = PendingPush(PushAudio(1, SPEC, assigned), source_of(np.zeros(16, np.int16)))
    pusher.push(pending)
    await pusher.close()
    before = dict(network.calls)
    pusher.push(pending)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (network.calls, performed) == (before, [])


async def test_a_push_may_take_as_long_as_its_audio_needs() -> None:
    network, performed = NoteTimeouts(), list[ClientEffect]()
    brain = ClientBrain("c1", 1, 0)
    seven_minutes = np.zeros(420 * 16_000, np.int16)
    brain.open(1, SPEC, seven_minutes.nbytes)
    options = ClientOptions(push_timeout_s=2, push_ms_per_audio_s=20, max_duration_s=600)
    pusher = Pusher(brain.transfers, network, MemoryObjectStore(), performed.extend, options)
    assigned = Assigned(job_id="j1", attempt=1, node="a", agent="agent:a", incarnation=1)
    pusher.push(PendingPush(PushAudio(1, SPEC, assigned), source_of(seven_minutes)))
    await network.is_called.wait()
    await pusher.close()
    assert network.timeouts_s == [2 + 420 * 0.02]
