"""A node in the Dispatcher's eyes: its slots, its failures, its refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_sched.core.leases.lease import LeaseError
from ray_sched.core.placement.node_state import NodeState
from tests.support.builders import ENGLISH
from tests.support.placement import a_node_state


@given(
    st.lists(
        st.tuples(st.sampled_from(["lease", "revoke", "expire", "acquire", "acquire", "release"]), st.integers(0, 5)),
        max_size=60,
    )
)
@settings(max_examples=200, deadline=None)
def test_a_node_is_never_oversold_and_never_loses_a_slot(steps: list[tuple[str, int]]) -> None:
    """``never_oversold`` for one node, whatever the pool and the jobs do."""
    node_state = NodeState("node-a", 1, ENGLISH)
    offered = 0
    for number, (what, n) in enumerate(steps):
        if what == "lease":
            offered = 4
            node_state.lease(4, number + 5)
        elif what == "revoke":
            offered = 0
            node_state.lease(0, number + 5)
        elif what == "expire":
            node_state.expire(number)
            offered = offered if number < node_state.term_ends_at_ms else 0
        elif what == "acquire" and node_state.n_free:
            node_state.acquire((f"j{number}", 1), 10)
        elif what == "release" and node_state.attempts():
            attempt = node_state.attempts()[n % node_state.n_acquired]
            assert node_state.release(attempt)
            assert not node_state.release(attempt)
        assert node_state.n_acquired <= 4
        assert node_state.n_free == max(0, offered - node_state.n_acquired)
        assert node_state.in_flight_ms == 10 * node_state.n_acquired


def test_without_a_free_slot_nothing_can_be_acquired() -> None:
    node_state = a_node_state(slots=1)
    node_state.acquire(("x", 1), 0)
    with pytest.raises((IndexError, LeaseError)):
        node_state.acquire(("y", 1), 0)
    assert (node_state.n_free, node_state.attempts()) == (0, [("x", 1)])
