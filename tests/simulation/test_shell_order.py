"""The order decide, save, notify, where a step that saves nothing meets one that is still being saved."""

import asyncio
from collections.abc import Sequence

from ray_sched.core.messages.agent_dispatcher import AgentBatch, RunFinished
from ray_sched.core.messages.client_dispatcher import ClientBatch, JobSpec, Submit
from ray_sched.core.ports import Change
from ray_sched.wire.auth import agent_key
from ray_sched.wire.codec import encode
from tests.support.in_process import InProcess, MemoryStore


class SlowStore(MemoryStore):
    """Commits nothing before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_commit = asyncio.Event()

    async def commit(self, changes: Sequence[Change]) -> None:
        await self.may_commit.wait()
        await super().commit(changes)


def a_batch(generation: int = 1) -> bytes:
    spec = JobSpec(request_id="r1", src="en", tgt="en", audio_ms=1_000)
    return encode(ClientBatch(client_id="c1", generation=generation, messages=(Submit(spec=spec),)))


async def test_a_repeated_submit_is_not_accepted_before_the_first_one_is_saved() -> None:
    store = SlowStore()
    async with InProcess(store=store) as system:
        first = asyncio.create_task(system.dispatcher.client(a_batch()))
        await asyncio.sleep(0.01)
        again = asyncio.create_task(system.dispatcher.client(a_batch()))
        await asyncio.sleep(0.05)
        assert (first.done(), again.done()) == (False, False)
        store.may_commit.set()
        await asyncio.gather(first, again)
        assert len(store.commits) == 1


async def test_a_repeated_report_is_not_acknowledged_before_the_first_one_is_saved() -> None:
    store = SlowStore()
    async with InProcess(store=store) as system:
        submitting = asyncio.create_task(system.dispatcher.client(a_batch()))
        await asyncio.sleep(0.01)
        report = RunFinished(job_id="unknown-1", attempt=1, text="x", run_ms=1)
        raw = encode(AgentBatch(node="a", incarnation=1, key=agent_key(b"", "a", 1), messages=(report,)))
        reporting = asyncio.create_task(system.dispatcher.agent(raw))
        await asyncio.sleep(0.05)
        assert not reporting.done()
        store.may_commit.set()
        await asyncio.gather(submitting, reporting)
