"""What the pusher does and no longer does."""

import asyncio

import numpy as np

from ray_sched.client.options import ClientOptions
from ray_sched.client.push import PendingPush, Pusher
from ray_sched.client.sources import Source
from ray_sched.core.client.brain import ClientBrain
from ray_sched.core.client.effects import ClientEffect, PushAudio
from ray_sched.core.messages.client_dispatcher import Assigned, JobSpec
from tests.support.in_process import MemoryObjectStore, Network

SPEC = JobSpec(request_id="r", src="en", tgt="en")


async def test_an_assignment_that_comes_when_the_client_has_closed_brings_no_audio_anywhere() -> None:
    network, performed = Network(), list[ClientEffect]()
    brain = ClientBrain("c1", 1, 0)
    brain.open(1, SPEC, 32)
    pusher = Pusher(brain.transfers, network, MemoryObjectStore(), performed.extend, ClientOptions())
    assigned = Assigned(job_id="j1", attempt=1, node="a", agent="agent:a", incarnation=1)
    pending = PendingPush(PushAudio(1, SPEC, assigned), Source(np.zeros(16, np.int16), None, 60))
    pusher.push(pending)
    await pusher.close()
    before = dict(network.calls)
    pusher.push(pending)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (network.calls, performed) == (before, [])
