"""Where a long utterance is cut into pieces: where speech is least probable near the end of the longest piece."""

from collections import deque

from ray_sched.core.turns.rules import SAMPLES_PER_MS, TurnRules


class Cuts:
    """The verdicts on audio that is in no piece yet, in order."""

    def __init__(self) -> None:
        self._windows: deque[tuple[int, float]] = deque()
        """Where each ends, and how probably it is speech."""

    def add(self, end: int, probability: float) -> None:
        """A window that ends here was judged."""
        self._windows.append((end, probability))

    def best(self, begin: int, rules: TurnRules) -> int:
        """The end of a piece that begins here and is as long as it may be: behind its best window, the last of them."""
        longest = begin + rules.cut_ms * SAMPLES_PER_MS
        search_from = longest - rules.search_ms * SAMPLES_PER_MS
        places = [(probability, -end) for end, probability in self._windows if search_from <= end <= longest]
        return -min(places)[1] if places else longest

    def forget(self, before: int) -> None:
        """What ends up to here was cut."""
        while self._windows and self._windows[0][0] <= before:
            self._windows.popleft()
