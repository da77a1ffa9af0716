"""``ray-sched pools``: nodes of equal capability, grouped."""

from ray_sched.cli.call import Call
from ray_sched.cli.nodes import capability_cells
from ray_sched.cli.output import add_row, table


async def pools(call: Call) -> None:
    """List the pools: nodes that can do the same."""
    async with call.scheduler() as scheduler:
        rows = await scheduler.pools()
    made = table("pool", "engine", "asr", "mt", "tts", "slots", "running", "nodes", right=("slots", "running"))
    for row in rows:
        add_row(made, row.pool, *capability_cells(row.capability), row.slots, row.running, " ".join(row.nodes))
    call.out.show(rows, made if rows else "there is no pool: no node is ready")
