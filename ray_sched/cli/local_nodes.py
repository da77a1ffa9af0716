"""The nodes that ``demo``, and ``up`` without an address, start on this machine, and the settings they need."""

from dataclasses import replace

from ray_sched.core.rules import PoolRules
from ray_sched.settings import LocalRules, Settings
from ray_sched.system.local import LocalNode

_LABELS = {"echo": {"asr": "en.es", "mt": "en_es.es_en", "tts": "en.es"}}
"""Engines that cannot find out by themselves what they can do."""
_NEVER = 101.0


def local_nodes(rules: LocalRules) -> list[LocalNode]:
    """As many as the rules name, named node-1 and so on."""
    labels = {"engine": rules.engine, "slots": str(rules.slots_per_node), **_LABELS.get(rules.engine, {})}
    if rules.profile:
        labels = {"profile": rules.profile}
    return [LocalNode(labels=labels | {"node": f"node-{number + 1}"}) for number in range(rules.nodes)]


def for_one_machine(settings: Settings, n_nodes: int | None) -> Settings:
    """With this many local nodes, and no CPU threshold unless one was set.

    Nodes that share a machine share its load: each would take the work of the others for a reason to rest.
    """
    local = settings.local if n_nodes is None else replace(settings.local, nodes=n_nodes)
    is_default = settings.pools.cpu_threshold_percent == PoolRules().cpu_threshold_percent
    pools = replace(settings.pools, cpu_threshold_percent=_NEVER) if is_default else settings.pools
    return settings.model_copy(update={"local": local, "pools": pools})
