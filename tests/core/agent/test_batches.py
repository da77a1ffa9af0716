"""Which runs share a pass of a model: chains of facts, and what must never happen."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_sched.core.agent.batches import BatchLimits, PassQueue

FOUR = BatchLimits(max_batch=4, max_batch_audio_ms=10_000, max_batch_wait_ms=0)


def queue(at_once: int = 1, **limits: int) -> PassQueue:
    return PassQueue(BatchLimits(**{"max_batch": 4, **limits}), at_once)


def test_an_idle_model_waits_for_nothing_and_what_came_during_a_pass_goes_into_the_next() -> None:
    it = queue()
    it.add(1, "en", 1_000, 0)
    assert it.begin(0) == (1,)
    it.add(2, "en", 1_000, 1)
    it.add(3, "en", 1_000, 2)
    assert it.begin(2) == ()
    it.end()
    assert it.begin(3) == (2, 3)
    it.end()
    assert it.begin(4) == ()


def test_only_equal_keys_share_a_pass_and_the_oldest_goes_first() -> None:
    it = queue()
    for run, key in enumerate(("en", "es", "en", "es")):
        it.add(run, key, 1_000, run)
    assert it.begin(9) == (0, 2)
    it.end()
    assert it.begin(9) == (1, 3)


def test_a_pass_holds_so_many_runs_and_so_much_audio() -> None:
    it = queue(max_batch_audio_ms=10_000)
    for run in range(5):
        it.add(run, "en", 1_000, 0)
    it.add(5, "en", 30_000, 0)
    it.add(6, "en", 4_000, 0)
    passes = []
    while runs := it.begin(0):
        passes.append(runs)
        it.end()
    assert passes == [(0, 1, 2, 3), (4,), (5,), (6,)]


def test_an_idle_model_may_be_told_to_wait_for_company_which_ends_when_the_pass_is_full() -> None:
    it = queue(max_batch=2, max_batch_wait_ms=50)
    it.add(1, "en", 1_000, 100)
    assert it.begin(149) == ()
    assert it.due_at_ms == 150
    it.add(2, "es", 1_000, 120)
    it.add(3, "es", 1_000, 121)
    assert it.begin(122) == (2, 3)
    it.end()
    assert it.begin(150) == (1,)
    assert it.due_at_ms is None


def test_a_run_that_is_alone_shares_neither_its_pass_nor_its_model() -> None:
    it = queue(at_once=2)
    it.add(1, "en", 1_000, 0)
    assert it.begin(0) == (1,)
    it.add(2, "en", 1_000, 0, is_alone=True)
    it.add(3, "en", 1_000, 0)
    assert it.begin(0) == (), "nothing overtakes it, or it would never be alone"
    it.end()
    assert it.begin(0) == (2,)
    assert it.begin(0) == ()
    it.end()
    assert it.begin(0) == (3,)


def test_a_run_that_is_dropped_in_time_never_begins() -> None:
    it = queue()
    it.add(1, "en", 1_000, 0)
    assert it.drop(1)
    assert it.begin(0) == ()
    it.add(2, "en", 1_000, 0)
    assert it.begin(0) == (2,)
    assert not it.drop(2)


class Passes(RuleBasedStateMachine):
    """Runs come and are dropped, passes begin and end; the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.n_runs = 0
        self.came: dict[int, tuple[Any, int, bool, int]] = {}
        self.going: list[tuple[int, ...]] = []
        self.begun: set[int] = set()
        self.limits = BatchLimits()
        self.at_once = 1
        self.it = PassQueue(self.limits, 1)

    @precondition(lambda self: not self.n_runs)
    @rule(
        max_batch=st.integers(1, 4), audio_ms=st.sampled_from([0, 500]), wait_ms=st.sampled_from([0, 20]),
        at_once=st.integers(1, 3),
    )  # fmt: skip
    def choose(self, max_batch: int, audio_ms: int, wait_ms: int, at_once: int) -> None:
        self.limits = BatchLimits(max_batch=max_batch, max_batch_audio_ms=audio_ms, max_batch_wait_ms=wait_ms)
        self.it, self.at_once = PassQueue(self.limits, at_once), at_once

    @rule(key=st.sampled_from("ab"), audio_ms=st.integers(0, 700), is_alone=st.integers(0, 5).map(lambda n: n == 0))
    def add(self, key: str, audio_ms: int, *, is_alone: bool) -> None:
        self.it.add(self.n_runs, key, audio_ms, self.now_ms, is_alone=is_alone)
        self.came[self.n_runs] = (key, audio_ms, is_alone, self.now_ms)
        self.n_runs += 1

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.n_runs:
            run = data.draw(st.integers(0, self.n_runs - 1))
            assert self.it.drop(run) == (run in self.came)
            self.came.pop(run, None)

    @rule(ms=st.integers(0, 30))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def begin(self) -> None:
        runs = self.it.begin(self.now_ms)
        if runs:
            self._check(runs)
            self.going.append(runs)
            self.begun |= {run for run in runs if self.came.pop(run)[2]}
        else:
            self._check_that_nothing_could_begin()

    def _check(self, runs: tuple[int, ...]) -> None:
        asked = [self.came[run] for run in runs]
        assert len(set(runs)) == len(runs) <= self.limits.max_batch
        assert len({key for key, *_ in asked}) == 1
        assert len(runs) == 1 or not self.limits.max_batch_audio_ms or (
            sum(audio_ms for _, audio_ms, *_ in asked) <= self.limits.max_batch_audio_ms
        )  # fmt: skip
        assert len(runs) == 1 or not any(is_alone for _, _, is_alone, _ in asked)
        assert list(runs) == sorted(runs), "in order of arrival"
        longest = self.now_ms - self.limits.max_batch_wait_ms
        overdue = [run for run, (*_, at_ms) in self.came.items() if at_ms <= longest]
        assert all(run >= min(runs) for run in overdue), "nobody is passed over who has waited so long"

    def _check_that_nothing_could_begin(self) -> None:
        if not self.going and self.came:
            first = self.came[min(self.came)]
            assert not first[2]
            assert self.now_ms - first[3] < self.limits.max_batch_wait_ms, "an idle model waits no longer than it may"
            due_at_ms = self.it.due_at_ms
            assert due_at_ms is not None
            assert self.now_ms < due_at_ms <= first[3] + self.limits.max_batch_wait_ms

    @precondition(lambda self: self.going)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.going.remove(data.draw(st.sampled_from(self.going)))
        self.it.end()

    @invariant()
    def never_too_many_passes_and_who_is_alone_is_alone(self) -> None:
        assert len(self.going) <= self.at_once
        assert len(self.going) <= 1 or not any(run in self.begun for runs in self.going for run in runs)


TestPasses = Passes.TestCase
TestPasses.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
