"""Virtual time, and a network that misbehaves by a seed."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import TypeVar

AnswerT = TypeVar("AnswerT")
Reply = Callable[[AnswerT], None]

_CALL_TIMEOUT_MS = 1_000


class Network:
    """Virtual time, and messages on their way. ``drop`` and ``repeat`` are chances, 0 once healed."""

    def __init__(self, rng: random.Random, drop: float, repeat: float) -> None:
        self.rng = rng
        self.drop = drop
        self.repeat = repeat
        self.now_ms = 1_000_000
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def after(self, delay_ms: int, then: Callable[[], None]) -> None:
        """Do it when so much time has passed."""
        heapq.heappush(self._due, (self.now_ms + delay_ms, next(self._number), then))

    def every(self, period_ms: int, then: Callable[[], object]) -> None:
        """Do it again and again."""

        def again() -> None:
            then()
            self.after(period_ms, again)

        self.after(self.rng.randint(1, period_ms), again)

    def post(self, then: Callable[[], None]) -> None:
        """Send something that may vanish, come twice, or come after what was sent later."""
        if self.rng.random() >= self.drop:
            self.after(self._delay_ms(1_500), then)
            if self.rng.random() < self.repeat:
                self.after(self._delay_ms(2_500), then)

    def call(
        self,
        ask: Callable[[Reply[AnswerT]], None],
        then: Callable[[AnswerT], None],
        otherwise: Callable[[], None],
    ) -> None:
        """Ask; the answer may come, or never. Without one, ``otherwise`` happens after a while. Never both.

        What was asked may still arrive after its asker has given up.
        """
        is_over = False

        def reply(answer: AnswerT) -> None:
            if self.rng.random() >= self.drop:
                self.after(self._delay_ms(400), lambda: end(lambda: then(answer)))

        def end(how: Callable[[], None]) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                how()

        if self.rng.random() >= self.drop:
            self.after(self._delay_ms(1_300), lambda: ask(reply))
        self.after(_CALL_TIMEOUT_MS, lambda: end(otherwise))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + duration_ms
        while self._due and self._due[0][0] <= end_ms:
            self.now_ms, _, then = heapq.heappop(self._due)
            then()
        self.now_ms = end_ms

    def _delay_ms(self, most_ms: int) -> int:
        return self.rng.randint(1, most_ms if self.rng.random() < self.drop else 30)
