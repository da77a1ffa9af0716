"""Calls of a Ray that does not answer."""

import asyncio
import subprocess
import sys

import pytest

from ray_sched.system.ray_calls import call_ray

FOR_EVER = """
import asyncio, threading
from ray_sched.system.ray_calls import call_ray

async def main():
    try:
        async with asyncio.timeout(0.1):
            await call_ray(threading.Event().wait)
    except TimeoutError:
        print("gave up")

asyncio.run(main())
"""


async def test_a_result_and_an_error_come_back() -> None:
    assert await call_ray(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await call_ray(divmod, 7, 0)


def test_a_program_ends_though_ray_never_answers() -> None:
    done = subprocess.run([sys.executable, "-c", FOR_EVER], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "gave up\n"


async def test_a_call_that_was_given_up_may_end_later() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()

    calling = asyncio.create_task(call_ray(wait))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    may_end.set()
    await asyncio.sleep(0.05)
