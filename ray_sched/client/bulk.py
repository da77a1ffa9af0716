"""Many jobs: how many at a time, each submitted again when the scheduler was overloaded, and each with a result."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from msgspec import structs

from ray_sched.client.audio import AudioSource
from ray_sched.client.job_spec import name_of
from ray_sched.client.results import JobHandle, Result
from ray_sched.core.errors import Code, SchedError

_MIN_WINDOW = 4
_MAX_WINDOW = 1_000
_SLOTS_AHEAD = 2


def window_of(n_slots: int) -> int:
    """How many at a time: twice the cluster's slots, one job on each slot and one on its way to it."""
    return min(max(_SLOTS_AHEAD * n_slots, _MIN_WINDOW), _MAX_WINDOW)


async def as_completed(handles: Iterable[JobHandle]) -> AsyncGenerator[Result, None]:
    """The results of these jobs, each as soon as it is there, failed ones too."""
    waiting = {asyncio.ensure_future(handle.result()) for handle in handles}
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def run_one(submit: Callable[..., JobHandle], position: int, audio: AudioSource, **options: Any) -> Result:
    """The result of a job, failed or refused ones too, with its position among the others.

    ``submit`` and ``options`` are those of the client. An overloaded scheduler is asked again when it said so.
    """
    return structs.replace(await _with_retries(submit, audio, **options), position=position)


async def _with_retries(submit: Callable[..., JobHandle], audio: AudioSource, **options: Any) -> Result:
    while True:
        try:
            result = await submit(audio, **options).result()
        except SchedError as error:
            name = options.get("name") or name_of(audio)
            pair = f"{options.get('src')}:{options.get('tgt') or options.get('src')}"
            return Result(job_id="", name=name, status="refused", pair=pair, error=error.refusal)
        if result.error is None or result.error.code is not Code.OVERLOADED:
            return result
        await asyncio.sleep(result.error.retry_after_ms / 1000)
