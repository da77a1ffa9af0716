"""One job of many: submitted again when the scheduler was overloaded, and always with a result."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec import structs

from ray_sched.client.audio import AudioSource
from ray_sched.client.job_spec import name_of
from ray_sched.client.results import JobHandle, Result
from ray_sched.core.errors import Code, SchedError


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
