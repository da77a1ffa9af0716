"""Every kind of actor and its options, in one table; nowhere else does the project create one."""

from typing import Any, NamedTuple

import ray
from msgspec import Struct
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_sched.core.nodes.declarations import Held

_NOTHING_HELD = Held()

DISPATCHER, REGISTRY, TIMER, POOL, AGENT = "dispatcher", "registry", "timer", "pool", "agent"
GATEWAY = "gateway"

MAX_CONCURRENCY = 100_000
"""Waiting polls take a place each; the calls that matter must find one beside them."""


class ActorRow(NamedTuple):
    """How actors of one kind are made. All are detached, named, and take no CPU of Ray's count but what is held."""

    kind: str
    max_restarts: int
    """-1: Ray starts it again for ever. 0: the Registry does, as a new incarnation."""
    reloads: str
    """What a restarted one takes up, and from whom."""
    start: int
    """Order of starting; stopping goes the other way."""


ACTORS: dict[str, ActorRow] = {
    row.kind: row
    for row in (
        ActorRow(
            DISPATCHER, -1, "leases from pools, running attempts from agents, open jobs from clients and Redis", 1
        ),
        ActorRow(REGISTRY, -1, "incarnations and drains from Redis, nodes from Ray, health from heartbeats", 2),
        ActorRow(POOL, -1, "its nodes from the Registry's next message", 3),
        ActorRow(TIMER, -1, "nothing: its ticks are settings", 4),
        ActorRow(AGENT, 0, "nothing: a new incarnation begins empty", 5),
        ActorRow(GATEWAY, -1, "nothing: its clients are new ones", 6),
    )
}
"""An agent takes one byte of Ray's count of memory, so that its node is a busy one. A node that Ray drains is ended
as soon as it is idle, whatever actors run there: with that byte, when the agent has left.

No row uses concurrency groups: each would be a thread with a loop of its own, and a brain lives in one. None
retries calls: a call repeated in silence would be a message repeated without its attempt."""


class ControlNode(Struct, frozen=True):
    """The Ray node on which control actors run. Strictly so if they need its embedded Redis."""

    ray_node_id: str
    is_strict: bool

    def strategy(self) -> Any:
        """As Ray wants it."""
        return NodeAffinitySchedulingStrategy(self.ray_node_id, soft=not self.is_strict)


def make_actor(
    kind: str, cls: type, name: str, namespace: str, strategy: object, *args: object, held: Held = _NOTHING_HELD
) -> Any:
    """Create an actor by its row. ``held``: what it takes of Ray's count. Raises ValueError if the name is taken."""
    row = ACTORS[kind]
    options = {
        **({"memory": 1} if kind == AGENT else {}),
        "name": name,
        "namespace": namespace,
        "lifetime": "detached",
        "num_cpus": held.cpus,
        **({"num_gpus": held.gpus} if held.gpus else {}),
        "max_restarts": row.max_restarts,
        "max_task_retries": 0,
        "max_concurrency": MAX_CONCURRENCY,
        "enable_task_events": False,  # saves 15 to 25 % of the CPU of a call
        "scheduling_strategy": strategy,
    }
    return ray.remote(cls).options(**options).remote(*args)
