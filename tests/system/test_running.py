"""What looks after the embedded Redis goes on looking, whatever keeps the server from being started."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from ray_sched.settings import default_settings
from ray_sched.system import running
from ray_sched.wire.keep_up import keep_up


class Server:
    """One that has died, and cannot be started as long as errors are left."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.is_running = False

    def start(self, data_dir: Path, appendfsync: str) -> None:
        del data_dir, appendfsync
        if self._errors:
            raise self._errors.pop(0)
        self.is_running = True


async def test_a_full_disk_does_not_end_the_loop_that_starts_redis_again() -> None:
    server: Any = Server(OSError(28, "No space left on device"), OSError(28, "No space left on device"))
    keeping = keep_up("it", partial(running._keep_running, server, default_settings()), pause_s=0.001)
    task = asyncio.create_task(keeping)
    try:
        async with asyncio.timeout(10):
            while not server.is_running:  # noqa: ASYNC110  # the loop is the thing tested
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
