"""Every state table: each state has a row and can be reached, ends are ends."""

from collections.abc import Hashable, Mapping
from enum import StrEnum
from typing import Any

import pytest

from ray_sched.core.delivery.order import DELIVERY_TABLE, IndexState
from ray_sched.core.job import JOB_TABLE, TERMINAL, JobEvent, JobStatus
from ray_sched.core.leases.lease import LEASE_TABLE, LeaseState
from ray_sched.core.ledger import LEDGER_TABLE, AudioState
from ray_sched.core.node_status import NODE_TABLE, NodeStatus
from ray_sched.core.split.splitter import VOICE_TABLE, VoiceState
from ray_sched.core.turns import voice as turns
from ray_sched.core.turns.items import PIECE_TABLE, PieceState

Graph = Mapping[Any, Any]


def reached_from(start: Hashable, table: Graph) -> set[Hashable]:
    seen: set[Hashable] = set()
    todo = [start]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            row = table[state]
            todo += row.values() if isinstance(row, Mapping) else row
    return seen


@pytest.mark.parametrize(
    ("table", "states", "starts"),
    [
        (JOB_TABLE, JobStatus, [JobStatus.PENDING]),
        (LEASE_TABLE, LeaseState, [LeaseState.OFFERED]),
        (NODE_TABLE, NodeStatus, [NodeStatus.REGISTERING]),
        (DELIVERY_TABLE, IndexState, [IndexState.AWAITED]),
        (LEDGER_TABLE, AudioState, [AudioState.DECLARED, AudioState.RUNNING]),
        (VOICE_TABLE, VoiceState, [VoiceState.QUIET]),
        (turns.VOICE_TABLE, turns.VoiceState, [turns.VoiceState.QUIET]),
        (PIECE_TABLE, PieceState, [PieceState.RUNNING]),
    ],
    ids=["job", "lease", "node", "delivery", "ledger", "voice", "voice of a session", "piece"],
)
def test_every_state_has_a_row_and_is_reached(table: Graph, states: type[StrEnum], starts: list[Hashable]) -> None:
    assert set(table) == set(states)
    assert set().union(*(reached_from(start, table) for start in starts)) == set(states)


@pytest.mark.parametrize(
    ("table", "ends"),
    [
        (JOB_TABLE, {JobStatus.COMPLETED, JobStatus.COMPLETED_NO_TEXT, JobStatus.FAILED, JobStatus.CANCELLED}),
        (LEASE_TABLE, {LeaseState.REVOKED, LeaseState.EXPIRED}),
        (NODE_TABLE, {NodeStatus.LOST, NodeStatus.GONE}),
        (DELIVERY_TABLE, set()),  # what failed may be tried again
        (LEDGER_TABLE, {AudioState.RELEASED}),
        (PIECE_TABLE, {PieceState.DONE, PieceState.FAILED, PieceState.CANCELLED}),
    ],
    ids=["job", "lease", "node", "delivery", "ledger", "piece"],
)
def test_the_terminal_rows_are_empty_and_no_others(table: Graph, ends: set[Hashable]) -> None:
    assert {state for state, row in table.items() if not row} == ends


def test_every_state_that_is_not_terminal_can_still_end() -> None:
    for state in set(JobStatus) - TERMINAL:
        assert reached_from(state, JOB_TABLE) & TERMINAL
        assert JobEvent.FAIL in JOB_TABLE[state]
        assert JobEvent.CANCEL in JOB_TABLE[state]
