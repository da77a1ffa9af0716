"""``ray-sched doctor``: everything that has to be right, line by line, and what to do where it is not."""

import asyncio
from collections.abc import AsyncIterator

from ray_sched.cli.call import Call
from ray_sched.cli.exit_codes import UNHEALTHY
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.views.health import Check, what_is_wrong

_NOT_STARTED = {Code.SCHEDULER_NOT_RUNNING, Code.NO_CLUSTER}


async def doctor(call: Call) -> int:
    """Look at this machine, Redis and, if it runs, the cluster: each line says OK, or what to do."""
    with call.out.steps():
        call.out.step("looking")
        checks = [check async for check in _checks(call)]
    lines = [_line(check) for check in checks]
    n_wrong = sum(not check.is_ok for check in checks)
    call.out.show(checks, *lines, f"{n_wrong} of {len(checks)} need something done" if n_wrong else "all is well")
    return UNHEALTHY if n_wrong else 0


def _line(check: Check) -> str:
    if check.is_ok:
        return f"OK    {check.what}: {check.found}"
    return f"WRONG {check.what}: {check.found}; {check.advice}"


async def _checks(call: Call) -> AsyncIterator[Check]:
    from ray_sched.store.checkup import check_redis
    from ray_sched.system.checkup import check_authentication, check_machine

    settings = call.settings
    for check in [*check_machine(settings), check_authentication()]:
        yield check
    if settings.store.redis_url:
        for check in await check_redis(settings.store.redis_url, settings.store.timeout_ms / 1000):
            yield check
    try:
        async for check in _of_cluster(call):
            yield check
    except SchedError as error:
        is_ok = error.code in _NOT_STARTED and not settings.address
        yield Check(what="the scheduler", is_ok=is_ok, found=error.message, advice="" if is_ok else "see above")


async def _of_cluster(call: Call) -> AsyncIterator[Check]:
    from ray_sched.system.checkup import check_nodes

    async with call.scheduler() as scheduler:
        for check in await asyncio.to_thread(check_nodes):
            yield check
        wrong = what_is_wrong(await scheduler.status(), await scheduler.nodes())
        for sentence in wrong:
            yield Check(what="the scheduler", is_ok=False, found=sentence, advice="see ray-sched nodes")
        if not wrong:
            yield Check(what="the scheduler", is_ok=True, found="it runs and is healthy")
