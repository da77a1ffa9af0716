"""Whole brains, clients and agents joined by a network that drops, repeats and reorders."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation import oracle
from tests.simulation.agent import POISON
from tests.simulation.world import KINDS, World, run_world, submit_something


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_everything_comes_to_its_end(seed: int) -> None:
    world = run_world(seed)
    assert world.n_submitted > 0


@pytest.mark.parametrize("seed", range(8))
def test_even_a_network_that_loses_almost_half_of_everything_only_slows_it_down(seed: int) -> None:
    run_world(seed, n_steps=60, drop=0.45, repeat=0.4)


def test_in_a_good_network_every_job_is_completed_by_its_first_attempt() -> None:
    """In the first world whose user submits no poison by chance."""
    for seed in range(2, 12):
        world = World(seed, drop=0.0, repeat=0.0)
        world.is_wild = False
        for kind in KINDS:
            world.join(kind, slots=8)
        world.run(3_000)
        for _ in range(60):
            submit_something(world, world.clients[0])
            world.run(250)
        world.finish()
        wants = list(world.clients[0].wants.values())
        if not any(want.spec.name == POISON for want in wants):
            break
    outcomes = [want.delivered and want.delivered.outcome for want in wants]
    assert len(outcomes) == 60
    assert all(outcome and outcome.status.startswith("completed") and outcome.attempt == 1 for outcome in outcomes)


class WorldMachine(RuleBasedStateMachine):
    """Hypothesis decides what happens; the world's own chance what the network does to it."""

    @initialize(seed=st.integers(0, 2**32), drop=st.sampled_from([0.0, 0.1, 0.3]))
    def begin(self, seed: int, drop: float) -> None:
        self.world = World(seed, drop=drop, repeat=drop)
        for kind in KINDS:
            self.world.join(kind)
        self.world.run(1_500)

    @rule(who=st.integers(0, 1), count=st.integers(1, 5))
    def submit(self, who: int, count: int) -> None:
        for _ in range(count):
            submit_something(self.world, self.world.clients[who])

    @rule(who=st.integers(0, 1), which=st.integers(0, 9))
    def cancel(self, who: int, which: int) -> None:
        wants = list(self.world.clients[who].wants.values())
        for want in wants[-1 - which :][:1]:
            self.world.clients[who].cancel(want)

    @rule(kind=st.sampled_from(sorted(KINDS)))
    def join(self, kind: str) -> None:
        self.world.join(kind)

    @precondition(lambda self: self.world.ray_nodes)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["crash", "leave", "drain", "freeze"]))
    def lose(self, which: int, how: str) -> None:
        names = sorted(self.world.ray_nodes)
        getattr(self.world, how)(names[which % len(names)])

    @rule(which=st.sampled_from(["dispatcher", "soon", "registry", "pool"]))
    def restart(self, which: str) -> None:
        if which == "dispatcher":
            self.world.dispatcher.crash()
        elif which == "soon":
            self.world.dispatcher.crash_soon()
        elif which == "registry":
            self.world.registry.crash()
        else:
            for name in list(self.world.registry.pools):
                self.world.registry.crash_pool(name)

    @rule(who=st.integers(0, 1))
    def sleep_or_wake(self, who: int) -> None:
        client = self.world.clients[who]
        client.is_asleep = not client.is_asleep

    @rule(duration_ms=st.sampled_from([1, 10, 50, 200, 1_000, 4_000]))
    def wait(self, duration_ms: int) -> None:
        self.world.run(duration_ms)

    @invariant()
    def never_two_live_attempts(self) -> None:
        oracle.never_two_live_attempts(self.world)

    @invariant()
    def never_oversold(self) -> None:
        oracle.never_oversold(self.world)

    @invariant()
    def ledger_adds_up(self) -> None:
        oracle.ledger_adds_up(self.world)

    def teardown(self) -> None:
        """``every_job_ends`` and ``never_out_of_order``: the clients check each delivery, the end checks the rest."""
        if hasattr(self, "world"):
            self.world.finish()


WorldMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWorld = WorldMachine.TestCase
