"""The audio ledger against Ray's own figures, with every push going through the object store."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from ray_sched import Client
from ray_sched.client.audio import AudioSource
from ray_sched.client.client import Client as PlainClient
from ray_sched.client.options import ClientOptions
from ray_sched.core.ledger import AudioState
from ray_sched.settings import ClientRules, Settings
from ray_sched.system.ray_peers import RayObjectStore
from ray_sched.system.store_stats import object_store_stats
from tests.support.cluster import RunningCluster, wait_until
from tests.support.held_pushes import HeldPushes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("three_nodes")]

OBJECT_OVERHEAD_BYTES = 1024
"""Ray writes a header beside the array: its dtype, its shape and the pickle that joins them."""


def through_the_store(cluster: RunningCluster) -> Settings:
    """A client's settings with which no audio goes in a call."""
    return cluster.settings.model_copy(update={"client": ClientRules(inline_bytes=0)})


async def until(is_so: Callable[[], bool], timeout_s: float) -> None:
    """Wait until it is so. Raises TimeoutError if it is not in time."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110  # Ray tells nobody when a byte comes back
            await asyncio.sleep(0.01)


def test_the_ledger_equals_the_object_store_while_pushes_are_under_way_and_at_rest(
    three_nodes: RunningCluster,
) -> None:
    audio = np.arange(80_000, dtype=np.int16)

    async def hold(source: AudioSource) -> None:
        before = object_store_stats()
        pushes = HeldPushes(three_nodes.settings.namespace)
        async with PlainClient(pushes, RayObjectStore(), ClientOptions(inline_bytes=0)) as client:
            handles = client.submit_many([source] * 6, src="en")
            await until(lambda: client.ledger.bytes_in(AudioState.STORED) == 6 * audio.nbytes, 5)
            during = object_store_stats()
            n_objects = during.n_objects - before.n_objects
            assert n_objects == pushes.n_held
            excess = during.bytes_used - before.bytes_used - client.ledger.bytes_in(AudioState.STORED)
            assert 0 <= excess <= n_objects * OBJECT_OVERHEAD_BYTES
            assert client.ledger.bytes_in() == client.ledger.bytes_in(AudioState.STORED), "no byte is in two states"
            pushes.let_go.set()
            for handle in handles:
                await handle
            assert client.ledger.bytes_in() == 0
            assert client.ledger.released_bytes == 6 * audio.nbytes
        await until(lambda: object_store_stats() == before, 1)

    three_nodes.run(hold(audio))
    three_nodes.run(hold(audio.copy))  # read for its push


def test_the_store_is_back_within_a_second_of_500_utterances_while_10_000_jobs_wait(
    three_nodes: RunningCluster,
) -> None:
    audio = np.arange(80_000, dtype=np.int16)

    async def submit() -> tuple[int, int]:
        async with Client(through_the_store(three_nodes)) as client:
            waiting = client.submit_many([audio] * 10_000, src="de", deadline_s=120, copy=False)
            await waiting[-1].accepted()
            view = await three_nodes.scheduler.status()
            assert view.waiting == 10_000
            assert object_store_stats().bytes_used == before.bytes_used
            peak = 0
            done = 0
            for handle in client.submit_many([audio] * 500, src="en", deadline_s=120):
                assert (await handle).audio_ms == 5_000
                done += 1
                peak = max(peak, client.ledger.bytes_in(AudioState.STORED))
            await until(lambda: object_store_stats() == before, 1)
            assert (await three_nodes.scheduler.status()).waiting == 10_000
            assert client.ledger.bytes_in(AudioState.STORED) == 0
            return done, peak

    before = object_store_stats()
    done, peak = three_nodes.run(submit())
    assert done == 500
    assert peak <= 12 * audio.nbytes, "the store never holds more than one job for each slot"
    wait_until(
        lambda: three_nodes.run(three_nodes.scheduler.status()).waiting == 0, 5, "a closed client's jobs are cancelled"
    )
