"""Learned speeds: audio-seconds per second, per node and language pair, exponentially averaged."""

from collections.abc import Collection

from ray_sched.core.rules import SelectionRules

_SLOWEST, _FASTEST = 0.001, 10_000.0
"""Audio-seconds per second that are believed; a node that claims more would have all jobs, one with less none."""


_MAX_PAIRS = 4_096


class SpeedBook:
    """What was learned of each node's speed: audio-seconds per second, per node and pair, exponentially averaged."""

    def __init__(self, rules: SelectionRules) -> None:
        self._weight = rules.speed_weight
        self._default = rules.default_speed
        self._speed: dict[tuple[str, str], float] = {}
        self._of_pair: dict[str, float] = {}
        self._unsaved: set[str] = set()

    def load(self, speeds: dict[str, dict[str, float]]) -> None:
        """Take over what was stored: node to pair to speed. What has been learned meanwhile stays."""
        for node, pairs in speeds.items():
            for pair, speed in pairs.items():
                self._speed.setdefault((node, pair), speed)
                self._of_pair.setdefault(pair, speed)

    def take_unsaved(self) -> dict[str, dict[str, float]]:
        """What was learned since the last call: node to pair to speed."""
        nodes, self._unsaved = self._unsaved, set()
        return {node: speeds for node in sorted(nodes) if (speeds := self.of_node(node))}

    def all(self) -> dict[str, dict[str, float]]:
        """What is known: node to pair to speed."""
        nodes: dict[str, dict[str, float]] = {}
        for (node, pair), speed in self._speed.items():
            nodes.setdefault(node, {})[pair] = speed
        return nodes

    def learn(self, node: str, pair: str, audio_ms: int, run_ms: int) -> None:
        """Take one observation in. A run too short to measure counts as 1 ms, and nobody is believed everything."""
        if audio_ms <= 0:
            return
        if pair not in self._of_pair and len(self._of_pair) >= _MAX_PAIRS:
            return
        seen = min(max(audio_ms / max(run_ms, 1), _SLOWEST), _FASTEST)
        self._speed[node, pair] = self._average(self._speed.get((node, pair)), seen)
        self._unsaved.add(node)
        self._of_pair[pair] = self._average(self._of_pair.get(pair), seen)

    def speed(self, node: str, pair: str) -> float:
        """The node's speed for the pair; for a node not seen yet the average of the others, else the default."""
        return self._speed.get((node, pair)) or self._of_pair.get(pair) or self._default

    def _average(self, had: float | None, seen: float) -> float:
        return seen if had is None else had + self._weight * (seen - had)

    def of_node(self, node: str) -> dict[str, float]:
        """What is known of one node, by pair."""
        return {pair: speed for (name, pair), speed in self._speed.items() if name == node}

    def forget_all_but(self, nodes: Collection[str]) -> None:
        """Nodes that are not there any more are forgotten; what they taught of a pair stays in its average."""
        for key in [key for key in self._speed if key[0] not in nodes]:
            del self._speed[key]
