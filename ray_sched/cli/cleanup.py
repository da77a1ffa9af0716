"""``ray-sched cleanup``: forget finished jobs now."""

from typing import Annotated

import typer

from ray_sched.cli.call import Call


async def cleanup(
    call: Call,
    max_age_s: Annotated[
        float | None,
        typer.Option("--max-age-s", min=0, help="Age from which on they are forgotten; else that of cleanup.keep_ms."),
    ] = None,
) -> None:
    """Forget finished jobs of at least an age; the scheduler does it by itself once a minute."""
    age_s = call.settings.cleanup.keep_ms / 1000 if max_age_s is None else max_age_s
    async with call.scheduler() as scheduler:
        removed = await scheduler.cleanup(age_s)
    sentence = (
        f"{removed['jobs']} jobs with {removed['record_bytes']} bytes of records were forgotten, {removed['kept']} kept"
    )
    call.out.show(removed, sentence)
