"""``ray-sched nodes``: every node, what it can do and how it is."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from rich.console import RenderableType

from ray_sched.cli.call import Call
from ray_sched.cli.output import LAYOUT, Layout, add_row, table
from ray_sched.core.units import short_ms

if TYPE_CHECKING:
    from ray_sched.core.capability import Capability
    from ray_sched.core.views.nodes import NodeRow


async def nodes(call: Call, output: Annotated[Layout, LAYOUT] = Layout.NARROW) -> None:
    """List the nodes: state, load, and what they recognise, translate and speak."""
    async with call.scheduler() as scheduler:
        rows = await scheduler.nodes()
    is_wide = output is Layout.WIDE
    made = wide_nodes_page if is_wide else nodes_page
    nobody = "no node has joined; label Ray's nodes with ray-sched.io/engine"
    call.out.show(rows, *(made(rows) if rows else [nobody]), is_wide=is_wide)


def nodes_page(rows: "list[NodeRow]") -> list[RenderableType]:
    """What fits into 80 columns, and a sentence for each node that is not used, or has something wrong."""
    numbers = ("busy", "cpu %", "mem %", "gpu %", "heard")
    made = table("node", "status", *numbers, "can", right=numbers)
    for row in rows:
        load = (round(row.load.cpu), round(row.load.memory), _percent(gpu.use for gpu in row.gpus))
        can = ", ".join(
            f"{name} {words}" for name, words in zip(_SERVICES, _languages(row.capability), strict=True) if words
        )
        cells = (f"{row.running}/{row.slots}", *load, _heard(row), can)
        add_row(made, row.node, row.status, *cells)
    return [made, *(f"{row.node}: {why}" for row in rows if (why := _why(row)))]


def wide_nodes_page(rows: "list[NodeRow]") -> list[RenderableType]:
    """Everything."""
    numbers = ("slots", "running", "acquired", "cpu %", "memory %", "gpu %", "gpu memory %", "heard")
    made = table("node", "status", *numbers, "engine", *_SERVICES, "pool", "why", right=numbers)
    for row in rows:
        gpus = (_percent(gpu.use for gpu in row.gpus), _percent(gpu.memory for gpu in row.gpus))
        load = (round(row.load.cpu), round(row.load.memory), *gpus, _heard(row))
        cells = (row.slots, row.running, row.acquired, *load, *capability_cells(row.capability), row.pool)
        add_row(made, row.node, row.status, *cells, _why(row))
    return [made]


_SERVICES = ("asr", "mt", "tts")


def _percent(values: Iterable[float]) -> int | None:
    """Of the GPU that has most of it."""
    most = max(values, default=None)
    return None if most is None else round(most)


def _heard(row: "NodeRow") -> str:
    return "never" if row.silent_ms < 0 else f"{short_ms(row.silent_ms)} ago"


def _why(row: "NodeRow") -> str:
    return "; ".join(filter(None, (row.why, row.threshold and f"gets no new work: {row.threshold}")))


def capability_cells(can: "Capability") -> tuple[str, str, str, str]:
    """Engine, languages recognised, pairs translated, languages spoken."""
    return can.engine, *_languages(can)


def _languages(can: "Capability") -> tuple[str, str, str]:
    return " ".join(can.asr), " ".join(can.mt), " ".join(can.tts)
