"""A scheduler that runs as long as this block: Ray if we start it, Redis if we start it, the control actors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from ray_sched.settings import Settings
from ray_sched.store.data_dir import refuse_unusable
from ray_sched.store.embedded import EmbeddedRedis
from ray_sched.store.server_binary import find_server
from ray_sched.system.local import LocalCluster, LocalNode, prepare_environment
from ray_sched.system.policies import find_policy
from ray_sched.system.ray_session import connect_ray, disconnect_ray
from ray_sched.system.ray_token import rays_own_token
from ray_sched.system.start import Note, Scheduler, own_note, start_embedded_redis
from ray_sched.wire.keep_up import keep_up

log = logging.getLogger(__name__)

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where a scheduler runs, and how it ends."""

    address: str = ""
    """Of the Ray cluster to join; empty: one is started on this machine."""
    local_nodes: Sequence[LocalNode] = ()
    """Of the cluster that is started here."""
    is_head_a_node: bool = False
    """The head of the cluster that is started here is the first of them."""
    drain_s: float = 10.0
    """Running jobs may take this long when the block is left."""
    log_to_driver: bool = False
    """The logs of actors are printed here, too."""
    has_note: bool = False
    """Other commands on this machine find this scheduler."""
    dashboard_port: int = 0
    """Of Ray's dashboard, where a Ray is started here; 0: none."""
    has_rays_token: bool = False
    """The Ray that is started here has the token that Ray's own tools use on this machine."""


@asynccontextmanager
async def running(
    settings: Settings, options: RunOptions, notify: Callable[[str], None] = lambda _step: None
) -> AsyncIterator[Scheduler]:
    """Start what is not there and, on leaving, stop what was started, in the reverse order, whatever happened.

    ``notify`` is called with each step as it begins.
    """
    refuse_unusable(settings.data_dir)
    find_policy(settings.selection.policy)  # what would be refused after Ray's start is refused before it
    if not settings.store.redis_url:
        find_server()
    async with AsyncExitStack() as stack:
        address, token = options.address, ""
        if not address:
            token = prepare_environment(rays_own_token() if options.has_rays_token else None)
            cluster = LocalCluster(
                options.local_nodes,
                settings.local.object_store_mb,
                options.dashboard_port,
                is_head_a_node=options.is_head_a_node,
                has_log_monitor=options.log_to_driver,
            )
            stack.callback(cluster.stop)
            notify("starting Ray")
            address = cluster.start()  # Ray sets signal handlers, so it starts in the main thread or not at all
        connect_ray(address, settings.namespace, log_to_driver=options.log_to_driver)
        stack.callback(disconnect_ray)
        redis_url = settings.store.redis_url
        if not redis_url:
            notify("starting Redis")
            redis = await _start_redis(settings)
            stack.callback(redis.stop)
            keeping = keep_up("keeping Redis running", partial(_keep_running, redis, settings))
            stack.push_async_callback(_end, asyncio.create_task(keeping))
            redis_url = redis.url
        notify("starting the scheduler")
        scheduler = Scheduler(settings)
        await scheduler.start(redis_url, is_embedded=not settings.store.redis_url)
        stack.push_async_callback(_stop, scheduler, options.drain_s)
        if options.has_note:
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
    """Start the server again when it has died: killed, or sent SIGTERM with everything else that a Ray job started.

    Raises SchedError or OSError, as on a full disk, while it cannot be started.
    """
    while True:
        await asyncio.sleep(_LOOK_S)
        if not redis.is_running:
            log.warning("the embedded Redis has ended; it is started again")
            await asyncio.to_thread(redis.start, settings.data_dir, settings.store.appendfsync)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _stop(scheduler: Scheduler, drain_s: float) -> None:
    if await scheduler.is_running():
        await scheduler.stop(drain_s)
