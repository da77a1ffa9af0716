"""What the pusher does and no longer does."""

import asyncio

import numpy as np

from ray_sched.client.push import LedgerKey, PendingPush, Pusher
from ray_sched.client.sources import Source
from ray_sched.core.ledger import Ledger
from ray_sched.core.messages.client_dispatcher import Assigned, ClientMessage, JobSpec
from tests.support.in_process import MemoryObjectStore, Network


async def test_an_assignment_that_comes_when_the_client_has_closed_brings_no_audio_anywhere() -> None:
    network, ledger, said = Network(), Ledger[LedgerKey](), list[ClientMessage]()
    pusher = Pusher(network, MemoryObjectStore(), ledger, said.append, timeout_s=1)
    assigned = Assigned(job_id="j1", attempt=1, node="a", agent="agent:a", incarnation=1)
    pending = PendingPush(
        assigned, JobSpec(request_id="r", src="en", tgt="en"), Source(np.zeros(16, np.int16), None, 60)
    )
    pusher.push(pending)
    await pusher.close()
    before = dict(network.calls)
    pusher.push(pending)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (network.calls, said) == (before, [])
