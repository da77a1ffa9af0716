"""The ancestor's constants: what was kept, and what was replaced on purpose, with the reason."""

import pytest

from ray_sched.core.rules import CleanupRules, DeliveryRules, DispatchRules, NodeRules, PoolRules, SelectionRules

DISPATCH, DELIVERY, SELECTION = DispatchRules(), DeliveryRules(), SelectionRules()
CLEANUP, NODES, POOLS = CleanupRules(), NodeRules(), PoolRules()


@pytest.mark.parametrize(
    ("ours", "the_ancestors"),
    [
        (CLEANUP.every_ms, 60_000),
        (CLEANUP.keep_ms, 300_000),
        (DISPATCH.pending_timeout_ms, 10_000),
        (DISPATCH.run_timeout_ms, 60_000),
        (DISPATCH.max_failovers, 3),
        (DISPATCH.max_waiting_jobs_per_session, 200),
        (SELECTION.affinity_ttl_ms, 300_000),
        (SELECTION.unavailable_ms, 60_000),
        (SELECTION.quarantine_failures_in_a_row, 3),
        (SELECTION.quarantine_failures_of_last_5, 3),
        (NODES.default_slots, 4),
        (NODES.start_timeout_ms, 60_000),
        (POOLS.max_nodes_per_pool, 100),
        (POOLS.cpu_threshold_percent, 85),
        (POOLS.gpu_threshold_percent, 85),
        (POOLS.memory_threshold_percent, 85),
    ],
)
def test_what_was_kept(ours: float, the_ancestors: float) -> None:
    assert ours == the_ancestors


@pytest.mark.parametrize(
    ("ours", "the_ancestors", "why"),
    [
        (NODES.heartbeat_ms, 15_000, "jobs of a dead node waited 60 s"),
        (NODES.lost_after_ms, 45_000, "jobs of a dead node waited 60 s"),
        (DELIVERY.gap_wait_ms, 30_000, "a conversation does not wait half a minute for a lost sentence"),
        (DISPATCH.push_timeout_ms, 90_000, "a slot was reserved for 90 s for audio that never came"),
        (NODES.poll_ms, 15_000, "a new node could not be reached before its next heartbeat"),
        (POOLS.lease_term_ms, 90_000, "what is not renewed is taken back sooner"),
    ],
)
def test_what_was_replaced_is_shorter(ours: int, the_ancestors: int, why: str) -> None:
    assert ours < the_ancestors / 4, why


def test_what_may_be_tuned_for_machines_short_of_memory_is_allowed() -> None:
    assert CleanupRules(every_ms=30_000, keep_ms=120_000).keep_ms == 120_000
