"""How soon jobs are done: the real DispatchBrain on 120 nodes in virtual time, beside the fastest free node."""

from statistics import median, quantiles

import pytest

from ray_sched.core.placement.candidates import Candidates
from ray_sched.core.placement.policy import DEFAULT_POLICY, Placement, PlacementPolicy
from ray_sched.core.placement.question import Question
from ray_sched.core.rules import SelectionRules
from tests.support.virtual_time import MEAN_AUDIO_MS, Arrival, VirtualCluster, poisson

N_NODES = 120
SLOTS = 4
SPEEDS = {f"node-{n}": float(2 ** (n % 3)) for n in range(N_NODES)}
"""A third each: 1, 2 and 4 audio-seconds per second on a slot."""
FULL_LOAD_JOBS_PER_S = sum(SPEEDS.values()) * SLOTS * 1000 / MEAN_AUDIO_MS
ONE_FOR_EACH_SLOT = [Arrival(0.0, 600)] * (N_NODES * SLOTS)
SETTLING = 500
"""Jobs that find a cluster emptier than it will be."""


class FastestFreeNode:
    """Knows the true speeds, looks at every free node for every job, and cares for nothing else."""

    def place(self, q: Question, candidates: Candidates, *, is_explained: bool = False) -> Placement:
        del q, is_explained
        return Placement(max(candidates.free(), key=lambda each: (SPEEDS[each.node], each.n_free), default=None))


def took_ms(
    load: float, policy: PlacementPolicy = DEFAULT_POLICY, slowdown: float = 0.0, busy_penalty: float = 0.25
) -> list[float]:
    """From submission to end, in milliseconds, once every node's speed is known."""
    rules = SelectionRules(busy_penalty=busy_penalty)
    cluster = VirtualCluster(SPEEDS, SLOTS, slowdown, policy, rules)
    cluster.run(ONE_FOR_EACH_SLOT)
    return cluster.run(poisson(load * FULL_LOAD_JOBS_PER_S, SETTLING + 2_500, seed=1))[SETTLING:]


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[-1]


@pytest.mark.parametrize("load", [0.5, 0.85])
def test_jobs_are_done_as_soon_as_on_the_fastest_free_node(load: float) -> None:
    fastest, found = took_ms(load, FastestFreeNode()), took_ms(load)
    assert median(found) <= 1.03 * median(fastest)
    assert p99(found) <= p99(fastest)


def test_where_busy_slots_slow_each_other_down_jobs_are_spread_and_done_sooner() -> None:
    packed, spread = took_ms(0.3, slowdown=0.1, busy_penalty=0.0), took_ms(0.3, slowdown=0.1)
    assert median(spread) < 0.95 * median(packed)
    assert p99(spread) < p99(packed)


def test_a_cluster_that_knows_no_speed_yet_finds_its_fast_nodes_by_itself() -> None:
    cluster = VirtualCluster(SPEEDS, SLOTS)
    jobs_per_s = 0.5 * FULL_LOAD_JOBS_PER_S
    first = cluster.run(poisson(jobs_per_s, 1_500, seed=2))
    later = cluster.run(poisson(jobs_per_s, 1_500, seed=3))
    fastest = VirtualCluster(SPEEDS, SLOTS, policy=FastestFreeNode()).run(poisson(jobs_per_s, 1_500, seed=3))
    assert median(later) <= 1.03 * median(fastest) < median(first)


@pytest.mark.parametrize("n_nodes", [2, 18])
def test_a_node_whose_first_run_was_slow_by_bad_luck_has_its_share_again_after_a_while(n_nodes: int) -> None:
    """A cold disk, say. As long as others are free, nobody would ever find out how fast it is."""
    cluster = VirtualCluster(dict.fromkeys((f"node-{n}" for n in range(n_nodes)), 1.0), SLOTS)
    cluster.brain.speeds.load({f"node-{n}": {"en:en": 1.0 if n else 0.1} for n in range(n_nodes)})
    half_of_a_slot_of_each_node = [Arrival(n * 100.0, 50 * n_nodes) for n in range(100 * n_nodes)]
    cluster.run(half_of_a_slot_of_each_node)
    assert "node-0" not in cluster.went_to.values(), "the others are free, and known as faster"
    cluster.clean_up()
    cluster.went_to.clear()
    cluster.run(half_of_a_slot_of_each_node)
    assert list(cluster.went_to.values()).count("node-0") > 50


def test_of_nodes_that_are_slow_one_in_a_minute_is_tried_again() -> None:
    speeds = {f"node-{n}": 1.0 if n < 2 else 0.25 for n in range(8)}
    cluster = VirtualCluster(speeds, SLOTS)
    cluster.brain.speeds.load({node: {"en:en": speed} for node, speed in speeds.items()})
    for _ in range(5):
        cluster.run([Arrival(n * 100.0, 400) for n in range(900)])
        cluster.clean_up()
    slow = [node for node in cluster.went_to.values() if speeds[node] < 1.0]
    assert len(set(slow)) == 4, "none before the first clean-up, and one after each of the others"
    assert len(slow) <= 4 * SLOTS


def after_a_newcomer(
    speed: float, cold_ms: float = 0.0, load: float = 0.5, newcomer_penalty: float = 4.0
) -> tuple[list[float], int]:
    """Eight nodes of speed 2 run, then node-0 comes back with this speed: how long the next 1000 jobs took, and how
    many of them went to it."""
    speeds = {f"node-{n}": 2.0 for n in range(8)}
    jobs_per_s = load * sum(speeds.values()) * SLOTS * 1000 / MEAN_AUDIO_MS
    cluster = VirtualCluster(speeds, SLOTS, selection=SelectionRules(newcomer_penalty=newcomer_penalty))
    cluster.run(poisson(jobs_per_s, 500, seed=5))
    cluster.join("node-0", speed, cold_ms)
    cluster.went_to.clear()
    took = cluster.run(poisson(jobs_per_s, 1_000, seed=6))
    return took, list(cluster.went_to.values()).count("node-0")


@pytest.mark.parametrize("load", [0.3, 0.5])
def test_a_node_that_comes_back_cold_delays_one_job_and_not_one_for_each_slot(load: float) -> None:
    at_once, _ = after_a_newcomer(2.0, cold_ms=5_000, load=load, newcomer_penalty=1.0)
    slowly, n_there = after_a_newcomer(2.0, cold_ms=5_000, load=load)
    assert sum(took > 5_000 for took in at_once) > 1
    assert sum(took > 5_000 for took in slowly) == 1
    assert n_there or load < 0.5


def test_a_newcomer_that_is_fast_has_its_share_as_soon_as_it_has_shown_it() -> None:
    at_once, n_at_once = after_a_newcomer(8.0, newcomer_penalty=1.0)
    slowly, n_slowly = after_a_newcomer(8.0)
    assert n_slowly > 0.98 * n_at_once > 500
    assert median(slowly) <= 1.01 * median(at_once)


def test_where_nobody_else_is_free_a_newcomer_has_all_its_slots() -> None:
    """A share is no limit: a job that waits for a warm node would wait longer."""
    busy = VirtualCluster({"node-0": 1.0}, SLOTS)
    busy.run([Arrival(0.0, 1_000)])
    busy.join("node-1", 1.0)
    took = busy.run([Arrival(0.0, 1_000)] * (2 * SLOTS))
    assert took == [1_000.0] * (2 * SLOTS)
