"""Thresholds: at which load a node gets no new work, and the sentence that says which it has reached.

The Pool decides by it, and the Registry says the same of a node to people.
"""

from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.rules import PoolRules


def reached(load: Load, rules: PoolRules) -> str:
    """Each threshold that the load has reached, with its value and limit; empty: none, the node may be used."""
    parts = (
        ("CPU used by others", load.cpu, rules.cpu_threshold_percent),
        ("memory", load.memory, rules.memory_threshold_percent),
        ("GPU used by others", load.gpu, rules.gpu_threshold_percent),
        ("GPU memory of others", load.gpu_memory, rules.gpu_threshold_percent),
    )
    return ", ".join(f"{what} at {value:.0f} %, limit {limit:g} %" for what, value, limit in parts if value >= limit)
