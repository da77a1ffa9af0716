"""Where rivals' actors run: one on each node of the scheduler's own cluster, or all beside the submitter."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Place = str
"""The id of a Ray node."""


def spread(n_nodes: int) -> list[Place]:
    """The nodes that the scheduler's agents run on, too."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    return [nodes[n % len(nodes)] for n in range(n_nodes)]


def together(n_nodes: int) -> list[Place]:
    """The submitter's own node, so often: no rival has to carry audio to another node's store."""
    return [ray.get_runtime_context().get_node_id()] * n_nodes


def on_node(place: Place) -> Any:
    """As Ray wants it."""
    return NodeAffinitySchedulingStrategy(place, soft=False)
