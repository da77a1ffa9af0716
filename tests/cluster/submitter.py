"""A submitter that is going to be killed: ``python -m tests.cluster.submitter``. Not a test.

It has jobs that wait, jobs that run, and pushes under way whose audio is in the object store; then it says "ready".
"""

import asyncio

import numpy as np

from ray_sched import Client
from ray_sched.client.client import Client as PlainClient
from ray_sched.client.options import ClientOptions
from ray_sched.settings import load_settings
from ray_sched.system.ray_peers import RayObjectStore
from tests.support.held_pushes import HeldPushes

SECOND = np.zeros(16_000, np.int16)
N_WAITING, N_RUNNING, N_PUSHING = 50, 2, 2


async def main() -> None:
    settings = load_settings()
    async with Client(settings) as client:
        handles = client.submit_many([SECOND] * N_WAITING, src="de", deadline_s=300)
        handles += client.submit_many([np.zeros(16_000 * 20, np.int16)] * N_RUNNING, src="en")
        for handle in handles:
            await handle.accepted()
        await asyncio.sleep(0.5)  # their audio is with their nodes
        pushes = HeldPushes(settings.namespace)
        async with PlainClient(pushes, RayObjectStore(), ClientOptions(inline_bytes=0)) as stuck:
            stuck.submit_many([SECOND] * N_PUSHING, src="en")
            while pushes.n_held < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            print("ready", flush=True)  # noqa: T201
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
