"""The lease: a slot's permission to run one job at a time.

A Pool leases the slots of its nodes to the Dispatcher for a term. Within the term the Dispatcher acquires a lease for
a job, releases it when the job leaves the slot, and acquires it again, without asking. A lease that is revoked or
whose term ends while a job is on it is ENDING: unless it is renewed meanwhile it ends with the job.
"""

from enum import StrEnum, auto


class LeaseState(StrEnum):
    """Where a lease is."""

    OFFERED = auto()
    ACQUIRED = auto()
    ENDING = auto()
    REVOKED = auto()
    EXPIRED = auto()


class LeaseEvent(StrEnum):
    """What happens to a lease."""

    ACQUIRE = auto()
    RELEASE = auto()
    REVOKE = auto()
    EXPIRE = auto()
    RENEW = auto()


LEASE_TABLE: dict[LeaseState, dict[LeaseEvent, LeaseState]] = {
    LeaseState.OFFERED: {
        LeaseEvent.ACQUIRE: LeaseState.ACQUIRED,
        LeaseEvent.RENEW: LeaseState.OFFERED,
        LeaseEvent.REVOKE: LeaseState.REVOKED,
        LeaseEvent.EXPIRE: LeaseState.EXPIRED,
    },
    LeaseState.ACQUIRED: {
        LeaseEvent.RELEASE: LeaseState.OFFERED,
        LeaseEvent.RENEW: LeaseState.ACQUIRED,
        LeaseEvent.REVOKE: LeaseState.ENDING,
        LeaseEvent.EXPIRE: LeaseState.ENDING,
    },
    LeaseState.ENDING: {
        LeaseEvent.RELEASE: LeaseState.REVOKED,
        LeaseEvent.RENEW: LeaseState.ACQUIRED,
        LeaseEvent.REVOKE: LeaseState.ENDING,
        LeaseEvent.EXPIRE: LeaseState.ENDING,
    },
    LeaseState.REVOKED: {},
    LeaseState.EXPIRED: {},
}


class LeaseError(Exception):
    """The table has no such row: a slot would have been oversold or returned twice."""


def next_lease_state(state: LeaseState, event: LeaseEvent) -> LeaseState:
    """The state after the event. Raises LeaseError if the table has no such row."""
    try:
        return LEASE_TABLE[state][event]
    except KeyError:
        raise LeaseError(f"a lease that is {state} cannot {event}") from None
