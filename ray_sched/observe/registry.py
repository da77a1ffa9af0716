"""The NodeRegistry's samples, read off its nodes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from ray_sched.core.node_status import NodeStatus
from ray_sched.core.nodes.node import Node
from ray_sched.observe.samples import Sample, by_label

_PERCENT = 100


def registry_samples(nodes: Iterable[Node], now_ms: int) -> Iterator[Sample]:
    """All that the Registry's brain can tell."""
    nodes = tuple(nodes)
    status = Counter(node.status for node in nodes)
    yield from by_label("nodes", {str(one): status[one] for one in NodeStatus})
    living = [node for node in nodes if not node.has_ended and node.pool]
    yield from by_label("heartbeat_age_seconds", _silence_s(living, now_ms))
    yield from _load(living)
    beats = [node.beat for node in nodes if node.beat and not node.has_ended]
    yield Sample("ledger_bytes", ("registry", "running"), sum(beat.audio_bytes for beat in beats))
    yield Sample("ledger_bytes", ("registry", "spoken"), sum(beat.speech_bytes for beat in beats))


def _silence_s(nodes: Iterable[Node], now_ms: int) -> dict[str, float]:
    """By pool, of the node that has been silent longest."""
    longest: dict[str, float] = {}
    for node in nodes:
        silent_ms = node.silent_ms(now_ms)
        if silent_ms is not None:
            longest[node.pool] = max(longest.get(node.pool, 0.0), silent_ms / 1000)
    return longest


def _load(nodes: Iterable[Node]) -> Iterator[Sample]:
    """By pool and resource, of the busiest node."""
    most: defaultdict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        if node.beat:
            load = node.beat.load
            for resource in load.__struct_fields__:
                key = (node.pool, resource)
                most[key] = max(most[key], getattr(load, resource) / _PERCENT)
    return (Sample("node_load_ratio", key, ratio) for key, ratio in most.items())
