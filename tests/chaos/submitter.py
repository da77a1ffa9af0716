"""``python -m tests.chaos.submitter``: a speaker in a process of its own, to be killed. Says its events on stdout.

It also keeps a few jobs waiting that no node can do, so that its death is seen by what becomes of them.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from ray_sched.settings import ClientRules, default_settings
from tests.chaos.oracle import Event
from tests.chaos.speaker import Speaker

N_IN_VAIN = 3


async def main(name: str, address: str, seed: int, per_s: float) -> None:
    """Speak until SIGTERM, then hear everything to its end."""

    def say(event: Event) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()

    stop = asyncio.Event()
    through_the_store = ClientRules(inline_bytes=0)  # its objects lose their owner when it is killed
    settings = default_settings(address=address, data_dir=Path(tempfile.gettempdir()), client=through_the_store)
    rng = random.Random(seed)  # noqa: S311  # a load that can be repeated, no secret
    speaker = Speaker(name, settings, rng, say)
    # Ray sets its own handler when it connects, which is in the line above
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with speaker.client:
        speaker.wait_in_vain(N_IN_VAIN)
        await speaker.speak(per_s, stop)
        speaker.hush()
        await speaker.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("address")
    parser.add_argument("seed", type=int)
    parser.add_argument("per_s", type=float)
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which sends SIGTERM
    asyncio.run(main(asked.name, asked.address, asked.seed, asked.per_s))
    sys.stdout.flush()
    os._exit(0)  # Ray's own leave-taking waits for a raylet that may be gone
