"""What one job may cost, in things that can be counted on a noisy machine: the one table to lower, never to raise.

All are per job, as means over a few hundred. Calls are of actors, whoever calls; heartbeats and ticks are not counted,
since they come by the clock. A long poll that brings mail counts like any other call.
"""

from msgspec import Struct

IN_THE_CALL, IN_THE_STORE = 8 * 2**20, 0
"""Bytes up to which a push goes in its call: all of it, and none."""


class Budget(Struct, frozen=True, kw_only=True):
    """The most that a job may cost."""

    calls: float
    """Ray calls: the client's batches, polls and pushes, the agents' reports, the Dispatcher's orders."""
    commits: float
    """Round trips to Redis."""
    puts: float
    """Objects in the store."""
    put_bytes: float
    """Bytes that go into the store, for each byte of audio."""
    copied_bytes: float
    """Bytes that our own code copies, in the client before the call and in the agent after it, for each of audio.

    With ``copy=False``; without it, an array is copied once more when it is submitted.
    """
    saves: float
    """Job records written."""


BUDGETS: dict[tuple[int, int], Budget] = {
    (1, IN_THE_CALL): Budget(calls=4.1, commits=2.1, puts=0.0, put_bytes=0.0, copied_bytes=2.0, saves=2.0),
    (64, IN_THE_CALL): Budget(calls=0.95, commits=0.3, puts=0.0, put_bytes=0.0, copied_bytes=2.0, saves=2.0),
    (1, IN_THE_STORE): Budget(calls=4.1, commits=2.1, puts=1.0, put_bytes=1.0, copied_bytes=1.0, saves=2.0),
    (64, IN_THE_STORE): Budget(calls=0.7, commits=0.15, puts=0.25, put_bytes=1.0, copied_bytes=1.0, saves=2.0),
}
"""By the number in flight and the bytes up to which a push goes in its call. Measured in process: with one exactly 4
calls and 2 commits; with 64, where threads decide how large the batches become, 0.47 to 0.77 calls and 0.14 to 0.23
commits with the audio in the call, 0.34 to 0.50, 0.09 to 0.14 and 0.12 to 0.18 puts with it in the store."""

FINISHED_JOB_BYTES = 1_650
"""Python objects in all of the Dispatcher for a finished job until clean-up; measured 1 510, wanted under 2 000."""
