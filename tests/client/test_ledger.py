"""The ledger of a real client against what is really there: arrays that live, and audio in calls under way."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ray_sched.client.client import Client
from ray_sched.client.decoders import Decoders
from ray_sched.client.options import ClientOptions
from ray_sched.core.ledger import AudioState
from ray_sched.core.rules import DispatchRules
from ray_sched.wire.peers import Payload, Peer, PeerUnavailableError
from ray_sched.wire.samples import Samples
from tests.support.in_process import InProcess

N_SAMPLES = 1_600
SHORT = np.zeros(N_SAMPLES, np.int16)


class CopyingObjectStore:
    """Holds a copy of its own, as Ray does, as long as somebody refers to it."""

    def put(self, payloads: Sequence[Payload]) -> Any:
        return [payload.copy() for payload in payloads]


class WatchedPushes:
    """A directory that knows how many bytes of audio are in pushes under way, and loses as many as it is told to."""

    def __init__(self, system: InProcess, n_lost: int = 0) -> None:
        self._system = system
        self.n_lost = n_lost
        self.n_bytes = 0
        self.n_pushes = 0
        self.may_return = asyncio.Event()
        self.may_return.set()

    def peer(self, actor: str) -> Peer:
        return WatchedPeer(self._system.network.peer(actor), self)


class WatchedPeer:
    def __init__(self, peer: Peer, pushes: WatchedPushes) -> None:
        self._peer = peer
        self._pushes = pushes

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        if method != "push":
            return await self._peer.call(method, *args, timeout_s=timeout_s)
        n_bytes = sum(sum(map(len, part)) if isinstance(part, list) else len(part) for part in args[1:])
        self._pushes.n_bytes += n_bytes
        self._pushes.n_pushes += 1
        try:
            await self._pushes.may_return.wait()
            if self._pushes.n_pushes <= self._pushes.n_lost:
                raise PeerUnavailableError("it got lost")
            return await self._peer.call(method, *args, timeout_s=timeout_s)
        finally:
            self._pushes.n_bytes -= n_bytes


class Files:
    """Callables that read an array of their own each time; knows the bytes of those that are still in memory."""

    def __init__(self) -> None:
        self._live: weakref.WeakValueDictionary[int, Samples] = weakref.WeakValueDictionary()
        self.n_read = 0

    def read(self) -> Samples:
        self.n_read += 1
        samples = self._live[self.n_read] = np.zeros(N_SAMPLES, np.int16)
        return samples

    @property
    def n_bytes(self) -> int:
        return sum(samples.nbytes for samples in list(self._live.values()))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # looked at in each iteration of the loop
            await asyncio.sleep(0)


@pytest.mark.parametrize("inline_bytes", [0, 1_000_000], ids=["store", "call"])
async def test_stored_is_what_is_in_pushes_at_every_moment_also_when_pushes_fail(inline_bytes: int) -> None:
    async with InProcess(DispatchRules(push_timeout_ms=60_000)) as system:
        await system.add_node("a")
        pushes, files = WatchedPushes(system, n_lost=2), Files()
        async with Client(pushes, CopyingObjectStore(), ClientOptions(inline_bytes=inline_bytes)) as client:
            handles = client.submit_many([SHORT, files.read] * 8, src="en")
            seen = set()
            async with asyncio.timeout(20):
                while not all(handle.is_done for handle in handles):
                    stored = client.ledger.bytes_in(AudioState.STORED)
                    assert stored == pushes.n_bytes
                    seen.add(stored > 0)
                    await asyncio.sleep(0)
            assert seen == {True, False}
            assert [(await handle).attempt for handle in handles] != [1] * 16, "pushes have failed"
            await until(lambda: pushes.n_bytes == 0)
            assert (len(client.ledger), client.ledger.bytes_in()) == (0, 0)
            await until(lambda: files.n_bytes == 0)


async def test_audio_of_a_file_is_held_from_its_reading_to_its_push_then_stored_then_only_declared() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        pushes, files = WatchedPushes(system, n_lost=1), Files()
        pushes.may_return.clear()
        async with Client(pushes, CopyingObjectStore(), ClientOptions(inline_bytes=0)) as client:
            handle = client.submit(files.read, src="en")
            assert (len(client.ledger), client.ledger.bytes_in()) == (1, 0)
            await until(lambda: pushes.n_pushes == 1)
            assert client.ledger.bytes_in(AudioState.STORED) == client.ledger.bytes_in() == SHORT.nbytes
            await until(lambda: files.n_bytes == 0)  # what was read is in the store and nowhere else
            pushes.may_return.set()
            await handle
            assert (files.n_read, client.ledger.released_bytes) == (2, 2 * SHORT.nbytes)


async def test_what_was_read_waits_held_for_the_reading_of_the_others() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        files, may_read = Files(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> Samples:
            asyncio.run_coroutine_threadsafe(may_read.wait(), loop).result()
            return files.read()

        async with Client(WatchedPushes(system), CopyingObjectStore(), ClientOptions()) as client:
            handles = [client.submit(source, src="en") for source in (files.read, slow)]
            await until(lambda: files.n_bytes > 0)
            await until(lambda: client.ledger.bytes_in(AudioState.HELD) == SHORT.nbytes)
            assert client.ledger.bytes_in() == files.n_bytes == SHORT.nbytes
            may_read.set()
            assert [(await handle).status for handle in handles] == ["completed"] * 2


async def test_a_job_that_is_cancelled_during_its_push_stays_stored_until_the_push_has_returned() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        pushes = WatchedPushes(system)
        pushes.may_return.clear()
        async with Client(pushes, CopyingObjectStore(), ClientOptions(inline_bytes=0)) as client:
            handle = client.submit(SHORT, src="en")
            await until(lambda: pushes.n_pushes == 1)
            await handle.cancel()
            assert (await handle.result()).status == "cancelled"
            assert client.ledger.bytes_in(AudioState.STORED) == pushes.n_bytes == SHORT.nbytes
            pushes.may_return.set()
            await until(lambda: pushes.n_bytes == 0)
            await until(lambda: len(client.ledger) == 0)


async def test_a_closed_client_holds_and_stores_nothing_whatever_was_under_way() -> None:
    async with InProcess() as system:
        await system.add_node("a")
        pushes, files = WatchedPushes(system), Files()
        pushes.may_return.clear()
        async with Client(pushes, CopyingObjectStore(), ClientOptions()) as client:
            client.submit_many([SHORT, files.read] * 4, src="en")
            await until(lambda: pushes.n_pushes == 1)
        assert (len(client.ledger), client.ledger.bytes_in(), pushes.n_bytes) == (0, 0, 0)
        await until(lambda: files.n_bytes == 0)


async def test_bytes_of_a_file_are_decoded_once_for_their_digest_and_their_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[str] = []
    decode = Decoders.decode

    async def counted(decoders: Decoders, audio: Any, name: str, *how: Any, **more: Any) -> Any:
        names.append(name)
        return await decode(decoders, audio, name, *how, **more)

    monkeypatch.setattr(Decoders, "decode", counted)
    async with InProcess() as system, Client(WatchedPushes(system), CopyingObjectStore(), ClientOptions()) as client:
        telephone = bytes(800)
        handle = client.submit(telephone, src="en", sample_rate_hz=8_000, encoding="mulaw", request_id="mine")
        assert client.ledger.bytes_in(AudioState.HELD) == len(telephone)
        await handle.accepted()
        assert client.ledger.bytes_in() == 2 * 2 * len(telephone)  # samples of two bytes, at twice the rate
        await system.add_node("a")
        await handle
        assert names == ["the audio"]
        assert (len(client.ledger), client.ledger.bytes_in()) == (0, 0)


async def test_the_digest_of_a_file_holds_its_samples_only_while_it_is_made() -> None:
    async with InProcess() as system, system.client() as client:
        files = Files()
        handle = client.submit(files.read, src="en", request_id="mine")
        await handle.accepted()
        assert (files.n_read, client.ledger.bytes_in(), len(client.ledger)) == (1, 0, 1)
        await until(lambda: files.n_bytes == 0)  # the thread that has read it lets go of it a moment later
