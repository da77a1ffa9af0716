"""How long a killed Dispatcher assigns nothing: ``python -m tests.benchmarks.restart [--waiting 5000]
[--times 5]``. No test: a person runs it.

Three nodes of four slots are busy and ``--waiting`` jobs wait when the Dispatcher's process is killed. What is measured
is the time from the kill to the moment when a client is told the next assignment. Ray's own restart is most of it:
``--waiting 0`` shows how much.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ray_sched.client.client import Client as PlainClient
from ray_sched.core.messages.client_dispatcher import Assigned, ClientReply, Mail
from ray_sched.core.rules import DispatchRules
from ray_sched.system.local import prepare_environment
from ray_sched.wire.codec import decode
from ray_sched.wire.peers import Directory, Peer
from tests.support.cluster import RunningCluster, echo_node
from tests.support.processes import actor

SECOND = np.zeros(16_000, np.int16)


class Listening:
    """A directory that notes when a new Dispatcher has told its first assignment."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.epoch = ""
        self._known: set[tuple[str, int]] = set()
        self.told = asyncio.Event()

    def peer(self, actor: str) -> Peer:
        peer = self._directory.peer(actor)
        return _ListeningPeer(peer, self) if actor == "dispatcher" else peer

    def handle(self, mail: Mail) -> None:
        epoch = mail.epoch.partition("/")[0]
        told = {(event.job_id, event.attempt) for event in mail.events if isinstance(event, Assigned)}
        if epoch != self.epoch and told - self._known:  # not one of the old Dispatcher's that is told again
            self.epoch = epoch
            self.told.set()
        self._known |= told


class _ListeningPeer:
    def __init__(self, peer: Peer, listening: Listening) -> None:
        self._peer = peer
        self._listening = listening

    async def call(self, method: str, *args: Any, timeout_s: float) -> Any:
        raw = await self._peer.call(method, *args, timeout_s=timeout_s)
        self._listening.handle(decode(raw, Mail) if method == "poll" else decode(raw, ClientReply).mail)
        return raw


async def measure(cluster: RunningCluster, n_waiting: int, times: int) -> list[float]:
    """Seconds from each kill to the next assignment."""
    from ray_sched.system.ray_peers import RayDirectory, RayObjectStore  # noqa: PLC0415  # imports Ray: its environment first

    listening = Listening(RayDirectory(cluster.settings.namespace))
    took: list[float] = []
    async with PlainClient(listening, RayObjectStore()) as client:
        client.submit_many([SECOND] * n_waiting, src="de", deadline_s=3_000)
        speaking = asyncio.create_task(speak(client))
        for _ in range(times):
            while (await cluster.scheduler.status()).waiting < n_waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)  # a steady state: nothing of the last restart is still under way
            listening.told.clear()
            actor("Dispatcher").kill()
            killed_at = time.monotonic()
            await listening.told.wait()
            took.append(time.monotonic() - killed_at)
            print(f"{took[-1]:.2f} s", flush=True)  # noqa: T201
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    return took


async def speak(client: PlainClient) -> None:
    """Keep every slot busy and a few jobs waiting for one."""

    async def one_after_the_other() -> None:
        while True:
            await client.submit(SECOND, src="en", deadline_s=60).result()

    await asyncio.gather(*(one_after_the_other() for _ in range(18)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    prepare_environment()
    nodes = [echo_node(f"node-{number}", option_speed="4") for number in range(3)]
    rules = DispatchRules(max_waiting_jobs=50_000)
    with tempfile.TemporaryDirectory() as folder, RunningCluster(nodes, Path(folder), dispatch=rules) as cluster:
        took = cluster.run(measure(cluster, asked.waiting, asked.times))
    print(  # noqa: T201
        f"{asked.waiting} waiting: killed to next assignment p50 {statistics.median(took):.2f} s, max {max(took):.2f} s"
    )


if __name__ == "__main__":
    main()
