"""Work that goes on for as long as its process: what nobody expected is told, counted and survived, never silent."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from ray_sched.core.errors import SchedError

log = logging.getLogger(__name__)

SURPRISES: Counter[str] = Counter()
"""Name of the work to how often it has failed and begun again in this process."""

_LONGEST_PAUSE_S = 10.0
_STEADY_S = 60.0
"""Work that went on for so long before it failed begins again after the shortest pause."""


async def keep_up(name: str, work: Callable[[], Awaitable[None]], pause_s: float = 0.2) -> None:
    """Do ``work``, which goes on for ever, and begin again whenever it raises, after a pause that doubles.

    Returns when it returns, for that is on purpose, and is cancelled as any task is. Each failure is logged in a
    sentence, the first one in a row with its traceback, unless it is a SchedError, which says what to do.
    """
    now_s = asyncio.get_running_loop().time
    n_in_a_row = 0
    while True:
        began_s = now_s()
        try:
            await work()
        except Exception as error:  # whatever it is, the work has to go on
            n_in_a_row = 1 if now_s() - began_s >= _STEADY_S else n_in_a_row + 1
            SURPRISES[name] += 1
            again_s = min(pause_s * 2 ** (n_in_a_row - 1), _LONGEST_PAUSE_S)
            is_known = isinstance(error, SchedError)
            what = error if is_known else f"{type(error).__name__}: {error}"
            trace = None if is_known or n_in_a_row > 1 else error
            sentence = f"{name} has failed and begins again in {again_s:g} s: {what}"
            log.log(logging.ERROR, sentence, exc_info=trace)
            await asyncio.sleep(again_s)
        else:
            return
