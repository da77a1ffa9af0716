"""``ray-sched drain`` and ``undrain``: let a node finish its work and leave, or have it back."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ray_sched.cli.call import Call
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.drains import named_by

if TYPE_CHECKING:
    from ray_sched.system.start import Scheduler

_NODE = "A node's name, as nodes lists it; a machine's name means all of its engines."
_LOOK_S = 0.25
_GRACE_S = 15.0
_LEFT = frozenset({str(NodeStatus.GONE), str(NodeStatus.LOST)})


async def drain(
    call: Call,
    node: Annotated[str, typer.Argument(help=_NODE)],
    deadline_s: Annotated[
        float | None,
        typer.Option("--deadline-s", min=0, help="Its jobs may take this long; else nodes.drain_deadline_ms."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the node has left.")] = False,
) -> None:
    """Let a node finish its jobs and leave; it gets no new ones."""
    limit_s = call.settings.nodes.drain_deadline_ms / 1000 if deadline_s is None else deadline_s
    async with call.scheduler() as scheduler:
        await scheduler.drain_node(node, deadline_s)
        if wait:
            with call.out.steps():
                call.out.step(f"waiting for {node} to finish")
                await _wait_for(scheduler, node, limit_s + _GRACE_S)
        state = await _state(scheduler, node)
    call.out.show({"node": node, "status": state}, f"{node} is {state}")


async def undrain(
    call: Call,
    node: Annotated[str, typer.Argument(help="A drained node's name, as nodes lists it.")],
) -> None:
    """Give a drained node work again: at once while it drains; one that has left joins anew."""
    async with call.scheduler() as scheduler:
        await scheduler.undrain_node(node)
        state = ", ".join(await _states(scheduler, node)) or "absent"
    call.out.show({"node": node, "status": state}, f"{node} may be used again; it is {state} now")


async def _wait_for(scheduler: "Scheduler", node: str, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not _LEFT.issuperset((await _state(scheduler, node)).split(", ")):  # noqa: ASYNC110  # the Registry sends no notice
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise SchedError(Code.DEADLINE_EXCEEDED, f"{node} has not left within {limit_s:g} s; it drains on") from None


async def _state(scheduler: "Scheduler", node: str) -> str:
    states = await _states(scheduler, node)
    if not states:
        raise SchedError(Code.UNKNOWN_NODE, f"there is no node {node!r} any more")
    return ", ".join(states)


async def _states(scheduler: "Scheduler", node: str) -> list[str]:
    """Of the node, or of the engines of the machine, without repetitions."""
    states = {row.node: row.status for row in await scheduler.nodes()}
    return sorted({states[name] for name in named_by(node, states)})
