"""Which of many files can be read, as far as their beginnings tell, before anything is started for them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ray_sched.core.errors import SchedError
from ray_sched.settings import Settings

if TYPE_CHECKING:
    from ray_sched.client.reader import How

_AT_A_TIME = 256


async def first_look(settings: Settings, files: Sequence[Path], how: "How | None" = None) -> list[SchedError | None]:
    """For each file why it cannot be read, or None. Takes nothing out of a pipe."""
    from ray_sched.audio import Limits
    from ray_sched.client.reader import How, Reader

    reader = Reader(Limits(max_duration_s=settings.client.max_audio_s), settings.client.read_timeout_ms / 1000)

    async def look(file: Path) -> SchedError | None:
        try:
            await reader.look(file, how or How(), may_take=False)
        except SchedError as error:
            return error
        return None

    found: list[SchedError | None] = []
    for start in range(0, len(files), _AT_A_TIME):
        found += await asyncio.gather(*map(look, files[start : start + _AT_A_TIME]))
    return found
