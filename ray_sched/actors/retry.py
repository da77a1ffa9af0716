"""Waiting for the store, the same for every actor that can do nothing without it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ray_sched.core.ports import StoreDownError

log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_RETRY_S = 0.5
"""Pause before a store that did not answer is asked again."""


async def retry_until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the store until it answers, as long as that takes."""
    while True:
        try:
            return await ask()
        except StoreDownError as error:
            log.warning("waiting for the store: %s", error)
            await asyncio.sleep(STORE_RETRY_S)
