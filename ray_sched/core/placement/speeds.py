"""Learned speeds: audio-seconds per second of a run, per node and language pair, exponentially averaged.

A speed is that of one slot: what one run took, beside whatever ran on the node's other slots meanwhile.
"""

from collections import Counter
from collections.abc import Callable, Collection
from math import frexp, sqrt

from ray_sched.core.rules import SelectionRules

UNKNOWN_CLASS = 1_000
"""Speed class of a node that has not run anything yet: before all others, as it may be the fastest."""
UNLOADED_CLASS = -1_000
"""Of a node whose model has to be loaded first: after all others."""

_SLOWEST, _FASTEST = 0.001, 10_000.0
"""Audio-seconds per second that are believed; a node that claims more would have all jobs, one with less none."""
_MAX_PAIRS = 4_096
_MAX_DEVIATION = 10.0
"""One run that took a hundred times what was expected says no more than that."""
_OVERLOOKED = 100
"""Runs for each node that knows a pair, none of them on one of these nodes: it is slow, or was unlucky once."""
_HALF_A_CLASS = sqrt(2)
"""So that nodes of the same speed are in the middle of a class, and not on both sides of a border."""


class SpeedBook:
    """What was learned of each node's speed.

    Besides the speeds it keeps how fast a node is whatever the pair: each speed is divided by what such a pair takes on
    a node of relative speed 1, the first that was seen. Of this only the power of two is used, the node's speed class.
    """

    def __init__(self, rules: SelectionRules) -> None:
        self._weight = rules.speed_weight
        self._default = rules.default_speed
        self._speed: dict[tuple[str, str], float] = {}
        self._of_pair: dict[str, float] = {}
        self._deviation: dict[str, float] = {}
        """Pair to how far runs were from what was expected of them, as a part of that."""
        self._n_seen_then: dict[tuple[str, str], int] = {}
        """Node and pair to the observations of the pair, of all nodes, up to the node's own last one."""
        self._unsaved: set[str] = set()
        self._relative: dict[str, float] = {}
        self._class: dict[str, int] = {}
        self._unit: dict[str, tuple[float, int]] = {}
        """Speed of a node of relative speed 1 for the pair, and the number of observations that it is the mean of."""
        self._on_class: Callable[[str, int], None] = lambda _node, _speed_class: None

    def watch(self, on_class: Callable[[str, int], None]) -> None:
        """Call this with a node and its speed class whenever the class has changed."""
        self._on_class = on_class

    def load(self, speeds: dict[str, dict[str, float]]) -> None:
        """Take over what was stored: node to pair to speed. What has been learned meanwhile stays."""
        for node, pairs in speeds.items():
            for pair, speed in pairs.items():
                believed = _believable(speed)
                if (node, pair) not in self._speed:
                    self._speed[node, pair] = believed
                    self._compare(node, pair, believed)
                self._of_pair.setdefault(pair, believed)

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
        seen = _believable(audio_ms / max(run_ms, 1))
        if (expected := self._speed.get((node, pair)) or self._of_pair.get(pair)) is not None:
            error = min(abs(expected / seen - 1.0), _MAX_DEVIATION)
            self._deviation[pair] = self._average(self._deviation.get(pair), error)
        self._speed[node, pair] = self._average(self._speed.get((node, pair)), seen)
        self._unsaved.add(node)
        self._of_pair[pair] = self._average(self._of_pair.get(pair), seen)
        self._compare(node, pair, seen)

    def speed(self, node: str, pair: str) -> float:
        """The node's speed for the pair; for a node not seen yet the average of the others, else the default."""
        return self._speed.get((node, pair)) or self._of_pair.get(pair) or self._default

    def is_known(self, pair: str) -> bool:
        """Whether any run of this pair has been seen; else its speed is an assumption."""
        return pair in self._of_pair

    def deviation(self, pair: str) -> float:
        """How far a run is from what is expected of it, on average, as a part of that; 1 until two runs were seen."""
        return self._deviation.get(pair, 1.0)

    def class_of(self, node: str) -> int:
        """The larger the faster: one class more is twice as fast. ``UNKNOWN_CLASS`` for a node that has run nothing."""
        return self._class.get(node, UNKNOWN_CLASS)

    def of_node(self, node: str) -> dict[str, float]:
        """What is known of one node, by pair."""
        return {pair: speed for (name, pair), speed in self._speed.items() if name == node}

    def forget_all_but(self, nodes: Collection[str]) -> None:
        """Nodes that are not there any more are forgotten; what they taught of a pair stays in its average."""
        for key in [key for key in self._speed if key[0] not in nodes]:
            del self._speed[key], self._n_seen_then[key]
        for node in [node for node in self._relative if node not in nodes]:
            del self._relative[node], self._class[node]

    def forget_overlooked(self) -> None:
        """Forget the speed of the node that was overlooked longest for a pair, so that it is tried again.

        A node that looks slow gets no job while others are free, so nobody would ever find out that it was slow only
        once. To be asked for once in a while: one at a time, since whoever is as slow as it looked delays jobs again.
        """
        n_nodes = Counter(pair for _, pair in self._speed)
        overlooked = {
            (node, pair): (self._unit[pair][1] - n_then) / n_nodes[pair]
            for (node, pair), n_then in self._n_seen_then.items()
        }
        longest = max(overlooked, key=lambda key: overlooked[key], default=None)
        if longest is None or overlooked[longest] < _OVERLOOKED:
            return
        node = longest[0]
        del self._speed[longest], self._n_seen_then[longest]
        if not self.of_node(node):
            del self._relative[node], self._class[node]
            self._on_class(node, UNKNOWN_CLASS)

    def _average(self, before: float | None, seen: float) -> float:
        return seen if before is None else before + self._weight * (seen - before)

    def _compare(self, node: str, pair: str, seen: float) -> None:
        """Set an observation in relation to the pair, and the pair to the node.

        The pair's unit is the mean of all observations, not of the latest ones, so that it comes to rest: otherwise
        node and pair could drift for ever against each other, and away from nodes that have not run anything lately.
        """
        relative = self._relative.get(node)
        unit, n_seen = self._unit.get(pair, (seen / (relative or 1.0), 0))
        relative = self._relative[node] = self._average(relative, seen / unit)
        self._unit[pair] = (unit + (seen / relative - unit) / (n_seen + 1), n_seen + 1)
        self._n_seen_then[node, pair] = n_seen + 1
        speed_class = frexp(relative * _HALF_A_CLASS)[1] - 1
        if speed_class != self._class.get(node):
            self._class[node] = speed_class
            self._on_class(node, speed_class)


def _believable(speed: float) -> float:
    return min(max(speed, _SLOWEST), _FASTEST)
