"""``ray-sched nodes``: every node, what it can do and how it is."""

from typing import TYPE_CHECKING

from rich.table import Table

from ray_sched.cli.call import Call
from ray_sched.cli.output import add_row, table

if TYPE_CHECKING:
    from ray_sched.core.capability import Capability
    from ray_sched.core.views.nodes import NodeRow

_NUMBERS = ("slots", "running", "spent", "cpu %", "memory %", "gpu %", "gpu memory %", "silent ms")


async def nodes(call: Call) -> None:
    """List the nodes: state, load, and what they recognise, translate and speak."""
    async with call.scheduler() as scheduler:
        rows = await scheduler.nodes()
    call.out.show(rows, nodes_table(rows) if rows else "no node has joined; label Ray's nodes with ray-sched.io/engine")


def nodes_table(rows: "list[NodeRow]") -> Table:
    """For people."""
    made = table("node", "status", *_NUMBERS, "engine", "asr", "mt", "tts", "why", right=_NUMBERS)
    for row in rows:
        can, load = row.capability, row.load
        busiest = max((gpu.use for gpu in row.gpus), default=None)
        fullest = max((gpu.memory for gpu in row.gpus), default=None)
        gpus = tuple(None if percent is None else round(percent) for percent in (busiest, fullest))
        state = (row.slots, row.running, row.acquired, round(load.cpu), round(load.memory), *gpus, row.silent_ms)
        add_row(made, row.node, row.status, *state, *capability_cells(can), _why(row))
    return made


def _why(row: "NodeRow") -> str:
    return "; ".join(filter(None, (row.why, row.threshold and f"gets no new work: {row.threshold}")))


def capability_cells(can: "Capability") -> tuple[str, str, str, str]:
    """Engine, languages recognised, pairs translated, languages spoken."""
    return can.engine, " ".join(can.asr), " ".join(can.mt), " ".join(can.tts)
