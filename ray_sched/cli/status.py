"""``ray-sched status``: the scheduler in numbers."""

from typing import TYPE_CHECKING

from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.exit_codes import UNHEALTHY
from ray_sched.cli.output import add_row, table

if TYPE_CHECKING:
    from ray_sched.core.views.jobs import ClusterView


async def status(call: Call) -> int:
    """Show the scheduler in numbers: jobs, slots, the ledger, what was counted. Ends with 18 if something is wrong."""
    import msgspec

    from ray_sched.core.views.health import what_is_wrong

    async with call.scheduler() as scheduler:
        view = await scheduler.status()
        wrong = what_is_wrong(view, await scheduler.nodes())
    sentences = [f"unhealthy: {sentence}" for sentence in wrong] or ["healthy"]
    call.out.show(msgspec.to_builtins(view) | {"unhealthy": wrong}, *status_page(view), *sentences)
    return UNHEALTHY if wrong else 0


def status_page(view: "ClusterView") -> list[RenderableType]:
    """For people."""
    state = "draining" if view.is_draining else "running"
    if view.store_error:
        state += f"; Redis does not answer: {view.store_error}"
    main = table("scheduler", state)
    add_row(main, "jobs", _words(view.jobs) or "none")
    add_row(main, "waiting for a slot", view.waiting)
    add_row(main, "ended per second", view.ended_per_s)
    add_row(main, "slots", f"{view.slots}, {view.free_slots} free")
    add_row(main, "sessions", view.sessions)
    add_row(main, "ledger", f"{view.held_bytes} bytes held by submitters, {view.stored_bytes} on their way to nodes")
    add_row(main, "counted", _words(view.counters) or "nothing yet")
    if view.no_node:
        add_row(main, "found no node", _words(view.no_node))
    if view.rejected:
        add_row(main, "rejected", _words(view.rejected))
    return [main]


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
