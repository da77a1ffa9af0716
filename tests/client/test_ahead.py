"""What is put into the store ahead of its push, read ahead of it, and how much went which way."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ray_sched.client.client import Client
from ray_sched.client.options import ClientOptions
from ray_sched.client.push import Through
from ray_sched.core.ledger import AudioState
from ray_sched.wire.peers import Payload, Peer, PeerUnavailableError
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess, Network

SECOND = np.zeros(16_000, np.int16)


class ObjectStore:
    """Holds a copy of its own as long as somebody refers to it, and knows how many it holds."""

    def __init__(self) -> None:
        self.n_puts = 0
        self.n_objects = 0
        self.is_full = False

    def put(self, payloads: Sequence[Payload]) -> Any:
        if self.is_full:
            raise PeerUnavailableError("the object store took nothing")
        self.n_puts += 1
        self.n_objects += 1
        copies = [payload.copy() for payload in payloads]
        weakref.finalize(copies[0], self._freed)
        return copies

    def _freed(self) -> None:
        self.n_objects -= 1


class Held:
    """A network whose calls of one method wait until they may go."""

    def __init__(self, network: Network, method: str) -> None:
        self._network = network
        self.method = method
        self.may_go = asyncio.Event()
        self.n_held = 0

    def peer(self, actor: str) -> Peer:
        return HeldPeer(self._network.peer(actor), self)


class HeldPeer:
    def __init__(self, peer: Peer, held: Held) -> None:
        self._peer = peer
        self._held = held

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        if method == self._held.method:
            self._held.n_held += 1
            await self._held.may_go.wait()
        return await self._peer.call(method, *args, timeout_s=timeout_s)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # looked at in each iteration of the loop
            await asyncio.sleep(0)


async def turns(n: int = 20) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_client_with_nothing_else_to_do_puts_the_audio_while_its_job_is_asked_for() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        network, store = Held(system.network, "client"), ObjectStore()
        async with Client(network, store, ClientOptions(inline_bytes=0)) as client:
            handle = client.submit(SECOND, src="en")
            await until(lambda: network.n_held == 1)
            await turns()
            assert (store.n_puts, store.n_objects) == (1, 1)
            assert client.ledger.bytes_in(AudioState.STORED) == client.ledger.bytes_in() == SECOND.nbytes
            network.may_go.set()
            assert (await handle).status == "completed"
            await until(lambda: len(client.ledger) == store.n_objects == 0)
            assert (store.n_puts, client.through) == (1, Through(store=SECOND.nbytes))


async def test_of_a_job_that_has_to_wait_nothing_stays_in_the_store() -> None:
    async with InProcess() as system:
        store = ObjectStore()
        async with Client(system.network, store, ClientOptions(inline_bytes=0)) as client:
            handle = client.submit(SECOND, src="en")
            await handle.accepted()
            await until(lambda: store.n_objects == 0)
            assert store.n_puts == 1
            assert client.ledger.bytes_in(AudioState.HELD) == client.ledger.bytes_in() == SECOND.nbytes
            await system.add_node("a")
            assert (await handle).status == "completed"
            assert (store.n_puts, client.through) == (2, Through(store=SECOND.nbytes))
        await until(lambda: store.n_objects == 0)


async def test_a_refused_job_leaves_nothing_in_the_store() -> None:
    async with InProcess() as system:
        store = ObjectStore()
        async with Client(system.network, store, ClientOptions(inline_bytes=0)) as client:
            system.store.is_down = True
            result = await client.submit(SECOND, src="en").result()
            assert result.status == "refused"
            await until(lambda: store.n_objects == 0)
            assert (store.n_puts, len(client.ledger)) == (1, 0)


async def test_a_client_that_is_closed_leaves_nothing_in_the_store() -> None:
    async with InProcess() as system:
        network, store = Held(system.network, "client"), ObjectStore()
        client = Client(network, store, ClientOptions(inline_bytes=0))
        await client.__aenter__()
        handle = client.submit(SECOND, src="en")
        await until(lambda: store.n_objects == 1)
        network.may_go.set()
        await client.close()
        assert handle.is_done
        assert (store.n_objects, len(client.ledger), client.ledger.bytes_in()) == (0, 0, 0)


@pytest.mark.parametrize(("n_jobs", "inline_bytes"), [(2, 0), (1, SECOND.nbytes)], ids=["two", "little"])
async def test_nothing_is_put_ahead_of_two_jobs_or_of_what_goes_in_the_call(n_jobs: int, inline_bytes: int) -> None:
    async with InProcess() as system:
        network, store = Held(system.network, "client"), ObjectStore()
        async with Client(network, store, ClientOptions(inline_bytes=inline_bytes)) as client:
            client.submit_many([SECOND] * n_jobs, src="en")
            await until(lambda: network.n_held == 1)
            await turns()
            assert (store.n_puts, client.ledger.bytes_in(AudioState.STORED)) == (0, 0)
            network.may_go.set()


async def test_a_store_that_is_full_takes_nothing_ahead_and_the_push_says_so() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        store = ObjectStore()
        store.is_full = True
        async with Client(system.network, store, ClientOptions(inline_bytes=0)) as client:
            handle = client.submit(SECOND, src="en")
            await until(lambda: system.brain.counters.requeued > 0)
            assert client.ledger.bytes_in(AudioState.STORED) == 0
            store.is_full = False
            assert (await handle).attempt > 1


async def test_a_second_job_may_go_with_the_one_whose_audio_was_put_ahead() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        network, store = Held(system.network, "client"), ObjectStore()
        async with Client(network, store, ClientOptions(inline_bytes=0)) as client:
            first = client.submit(SECOND, src="en")
            await until(lambda: store.n_objects == 1)
            second = client.submit(SECOND, src="en")
            network.may_go.set()
            assert [(await handle).status for handle in (first, second)] == ["completed"] * 2
            await until(lambda: len(client.ledger) == store.n_objects == 0)
            assert client.through == Through(store=2 * SECOND.nbytes)


async def test_bytes_are_counted_by_the_way_they_went() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        async with Client(system.network, ObjectStore(), ClientOptions(inline_bytes=SECOND.nbytes)) as client:
            await client.submit(SECOND, src="en")
            assert client.through == Through(call=SECOND.nbytes)
            await client.submit(np.zeros(16_001, np.int16), src="en")
            assert client.through == Through(call=SECOND.nbytes, store=32_002)


async def test_a_late_source_holds_up_no_other_of_the_same_agent() -> None:
    async with InProcess() as system:
        await system.add_node("a", slots=40)
        may_read = threading.Event()

        def slow() -> Samples:
            may_read.wait(60)
            return SECOND

        def quick() -> Samples:
            return SECOND.copy()

        async with system.client() as client, asyncio.timeout(30):
            late = client.submit_many([slow] * 12, src="en")
            others = client.submit_many([quick, SECOND] * 4, src="en")
            assert [(await handle).status for handle in others] == ["completed"] * 8
            assert [handle.is_done for handle in late] == [False] * 12
            may_read.set()
            assert [(await handle).attempt for handle in late] == [1] * 12


async def test_files_that_are_read_for_one_agent_go_there_in_one_push() -> None:
    async with InProcess() as system:
        await system.add_node("a", slots=20)
        async with system.client() as client:
            handles = client.submit_many([SECOND.copy] * 20, src="en")
            assert [(await handle).status for handle in handles] == ["completed"] * 20
            assert system.network.calls["push"] == 1


async def test_no_more_is_read_ahead_than_an_agent_takes_soon() -> None:
    async with InProcess() as system:
        await system.add_node("a", slots=40)
        network, n_read = Held(system.network, "push"), 0

        def two_minutes() -> Samples:
            nonlocal n_read
            n_read += 1
            return np.zeros(120 * 16_000, np.int16)  # 3.7 MiB

        async with Client(network, ObjectStore(), ClientOptions()) as client:
            handles = client.submit_many([two_minutes] * 40, src="en")
            await until(lambda: network.n_held == 1)
            await asyncio.sleep(1)  # whatever else would be read is read by then
            assert 9 <= n_read <= 36, "32 MiB in the push, 16 ahead of it, and twice what 8 threads were reading"
            network.may_go.set()
            assert [(await handle).status for handle in handles] == ["completed"] * 40
            assert client.ledger.bytes_in() == 0
