"""``ray-sched gateway``: the front door beside a scheduler that runs."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError

log = logging.getLogger(__name__)


@contextmanager
def needs_gateway() -> Iterator[None]:
    """What is imported in it is of the extra. Raises SchedError MISSING_PART where that is not installed."""
    try:
        yield
    except ImportError as error:
        raise SchedError(
            Code.MISSING_PART, f"the gateway needs {error.name}; run: pip install 'ray-sched[gateway]'"
        ) from None


async def gateway(
    call: Call,
    where: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Else gateway.listen.")] = "",
    drain_s: Annotated[
        float, typer.Option("--drain-s", min=0, help="Open requests may take this long at the end.")
    ] = 30.0,
) -> None:
    """Serve OpenAI's audio API until Ctrl-C or SIGTERM: clients that speak it need nothing of Ray."""
    with needs_gateway():
        from ray_sched.gateway.gateway import Gateway
        from ray_sched.gateway.serving import listen, serve
    from ray_sched.system.api import Client

    settings = call.settings
    rules = settings.gateway
    listening = listen(where or rules.listen, has_tokens=bool(rules.token_hashes))
    with listening:
        async with call.scheduler(is_listed=True) as scheduler:
            await scheduler.status()  # raises the sentence where there is none
            host, port = listening.getsockname()[:2]
            who = "with a token" if rules.token_hashes else "from this machine"
            call.out.note(f"listening on http://{host}:{port}/v1 for whoever asks {who}")
            with call.signals.captured() as signals:
                door = Gateway(lambda tenant: Client(settings, tenant=tenant), rules, scheduler)
                signalled = asyncio.ensure_future(signals.get())
                await serve(door, listening, signalled, drain_s)
                signalled.cancel()
    call.out.show({"stopped": True}, "the gateway has stopped")
