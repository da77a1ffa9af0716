"""A program of a user: submits one utterance of so many seconds and prints its text. Started by the tests here."""

import asyncio
import sys

import numpy as np

import ray_sched


async def main(seconds: float) -> None:
    async with ray_sched.Client() as client:
        handle = client.submit(np.zeros(round(seconds * 16_000), dtype=np.int16), src="en", deadline_s=30)
        await handle.accepted()
        print("accepted", flush=True)  # noqa: T201
        print((await handle).text, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
