"""A scheduler that runs as long as this block: Ray if we start it, Redis if we start it, the control actors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from ray_sched.core.errors import SchedError
from ray_sched.settings import Settings
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.system.local import LocalCluster, LocalNode, prepare_environment
from ray_sched.system.ray_session import connect_ray, disconnect_ray
from ray_sched.system.start import Note, Scheduler, own_note, start_embedded_redis

log = logging.getLogger(__name__)

_LOOK_S = 0.2


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    address: str = "",
    local_nodes: Sequence[LocalNode] = (),
    drain_s: float = 10.0,
    log_to_driver: bool = False,
    has_note: bool = False,
    is_head_a_node: bool = False,
    notify: Callable[[str], None] = lambda _step: None,
) -> AsyncIterator[Scheduler]:
    """Start what is not there and, on leaving, stop what was started, in the reverse order, whatever happened.

    Without an ``address`` a Ray with ``local_nodes`` is started on this machine. ``has_note``: other commands shall
    find this scheduler. Leaving drains for ``drain_s`` seconds. ``say`` is told each step as it begins.
    """
    async with AsyncExitStack() as stack:
        token = ""
        if not address:
            token = prepare_environment()
            cluster = LocalCluster(
                local_nodes,
                settings.local.object_store_mb,
                settings.local.dashboard_port,
                is_head_a_node=is_head_a_node,
            )
            stack.callback(cluster.stop)
            notify("starting Ray")
            address = cluster.start()  # Ray sets signal handlers, so it starts in the main thread or not at all
        connect_ray(address, settings.namespace, log_to_driver=log_to_driver)
        stack.callback(disconnect_ray)
        redis_url = settings.store.redis_url
        if not redis_url:
            notify("starting Redis")
            redis = await _start_redis(settings)
            stack.callback(redis.stop)
            stack.push_async_callback(_end, asyncio.create_task(_keep_running(redis, settings)))
            redis_url = redis.url
        notify("starting the scheduler")
        scheduler = Scheduler(settings)
        await scheduler.start(redis_url, is_embedded=not settings.store.redis_url)
        stack.push_async_callback(_stop, scheduler, drain_s)
        if has_note:
            own_note(address, settings.namespace, token).write(settings.data_dir)
            stack.callback(Note.remove, settings.data_dir)
        yield scheduler


async def _start_redis(settings: Settings) -> EmbeddedRedis:
    """Start the server in a thread; one that is called off half-way is waited for, then stopped."""
    starting = asyncio.ensure_future(asyncio.to_thread(start_embedded_redis, settings))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        (await starting).stop()
        raise


async def _keep_running(redis: EmbeddedRedis, settings: Settings) -> None:
    """Start the server again when it has died: killed, or sent SIGTERM with everything else that a Ray job started."""
    while True:
        await asyncio.sleep(_LOOK_S)
        if not redis.is_running:
            log.warning("the embedded Redis has ended; it is started again")
            try:
                await asyncio.to_thread(redis.start, settings.data_dir, settings.store.appendfsync)
            except SchedError as error:
                log.error("Redis cannot be started: %s", error.message)  # noqa: TRY400  # the sentence says it all


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _stop(scheduler: Scheduler, drain_s: float) -> None:
    if await scheduler.is_running():
        await scheduler.stop(drain_s)
