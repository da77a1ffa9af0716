"""What counts as a false alarm."""

import pytest

from ray_sched.core.messages.agent_registry import Load
from ray_sched.core.views.nodes import NodeRow
from tests.chaos.watch import FalseAlarms
from tests.support.builders import ENGLISH


def a_row(status: str, incarnation: int = 1) -> NodeRow:
    return NodeRow(
        node="node-a",
        status=status,
        why="",
        pool="p",
        incarnation=incarnation,
        slots=2,
        running=0,
        acquired=0,
        most_running=0,
        accepted=0,
        load=Load(),
        capability=ENGLISH,
        audio_bytes=0,
        speech_bytes=0,
        silent_ms=0,
    )


@pytest.mark.parametrize("after", [a_row("lost"), a_row("registering", 2), a_row("ready", 2)])
def test_a_node_that_is_lost_without_a_fault_is_a_false_alarm(after: NodeRow) -> None:
    alarms = FalseAlarms()
    alarms.see(a_row("ready"), 1.0, "")
    alarms.see(after, 2.0, "")
    alarms.see(after, 3.0, "")
    assert len(alarms.found) == 1


def test_a_node_that_is_only_suspected_is_no_alarm_yet() -> None:
    alarms = FalseAlarms()
    for status in ("ready", "suspect", "ready"):
        alarms.see(a_row(status), 1.0, "")
    assert (alarms.found, len(alarms.suspects)) == ([], 1)


def test_a_harmed_node_may_be_lost_until_it_has_been_whole_for_a_moment() -> None:
    alarms = FalseAlarms()
    alarms.see(a_row("ready"), 1.0, "")
    alarms.harm("node-a")
    alarms.see(a_row("lost"), 2.0, "")
    alarms.see(a_row("ready", 2), 3.0, "")
    alarms.repaired("node-a", 3.0)
    alarms.see(a_row("lost", 2), 4.0, "")
    alarms.see(a_row("ready", 3), 5.0, "")
    assert alarms.found == []
    alarms.see(a_row("lost", 3), 20.0, "")
    assert len(alarms.found) == 1
