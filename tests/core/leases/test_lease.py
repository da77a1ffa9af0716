"""The lease: its table."""

import pytest

from ray_sched.core.leases.lease import LEASE_TABLE, LeaseError, LeaseEvent, LeaseState, next_lease_state


@pytest.mark.parametrize("event", LeaseEvent)
@pytest.mark.parametrize("state", LeaseState)
def test_an_event_moves_a_lease_by_the_table_or_is_an_error(state: LeaseState, event: LeaseEvent) -> None:
    if event in LEASE_TABLE[state]:
        assert next_lease_state(state, event) is LEASE_TABLE[state][event]
    else:
        with pytest.raises(LeaseError):
            next_lease_state(state, event)


def test_only_an_offered_lease_can_be_acquired() -> None:
    assert [state for state in LeaseState if LeaseEvent.ACQUIRE in LEASE_TABLE[state]] == [LeaseState.OFFERED]


def test_a_lease_that_is_revoked_while_acquired_ends_with_its_job() -> None:
    ending = next_lease_state(LeaseState.ACQUIRED, LeaseEvent.REVOKE)
    assert next_lease_state(ending, LeaseEvent.RELEASE) is LeaseState.REVOKED
