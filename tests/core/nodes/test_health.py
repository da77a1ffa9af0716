"""What silence means, to the millisecond, and how long a node that loses its agents has to wait for the next one."""

import pytest

from ray_sched.core.node_status import NodeEvent
from ray_sched.core.nodes.declarations import Declaration
from ray_sched.core.nodes.health import Respawns, Verdict, judge_silence
from ray_sched.core.nodes.node import Node
from ray_sched.core.rules import NodeRules
from tests.support.builders import ENGLISH, a_beat

RULES = NodeRules(suspect_after_ms=1_500, lost_after_ms=3_000, start_timeout_ms=60_000)
STARTED_MS = 5_000
BEAT_MS = 7_000
NO_FIRST_BEAT = Verdict(NodeEvent.TOO_LONG_SILENT, "no first heartbeat")


def a_new_node(*, is_restored: bool = False) -> Node:
    declaration = Declaration(node="node-a", engine="echo", capability=ENGLISH, slots=2)
    return Node(declaration, "ray-1", 1, STARTED_MS, is_restored=is_restored)


@pytest.mark.parametrize(
    ("silent_ms", "verdict"),
    [
        (0, None),
        (1_499, None),
        (1_500, Verdict(NodeEvent.SILENT, "silent for 1.5 s")),
        (2_999, Verdict(NodeEvent.SILENT, "silent for 2.9 s")),
        (3_000, Verdict(NodeEvent.TOO_LONG_SILENT, "silent for 3 s")),
    ],
)
def test_a_node_that_has_beaten_is_suspect_and_lost_when_its_time_is_up(
    silent_ms: int, verdict: Verdict | None
) -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(), BEAT_MS)
    assert judge_silence(node, RULES, BEAT_MS + silent_ms) == verdict


def test_a_suspect_node_is_no_news_until_it_is_lost() -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(), BEAT_MS)
    node.move(NodeEvent.SILENT)
    assert judge_silence(node, RULES, BEAT_MS + 2_999) is None
    assert judge_silence(node, RULES, BEAT_MS + 3_000) == Verdict(NodeEvent.TOO_LONG_SILENT, "silent for 3 s")


def test_a_beat_at_the_very_start_of_time_is_a_beat() -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(), 0)
    assert node.silent_ms(1_000) == 1_000
    assert judge_silence(node, RULES, 1_500) == Verdict(NodeEvent.SILENT, "silent for 1.5 s")


def test_an_agent_that_starts_may_load_for_the_time_to_start() -> None:
    node = a_new_node()
    assert judge_silence(node, RULES, STARTED_MS + 59_999) is None
    assert judge_silence(node, RULES, STARTED_MS + 60_000) == NO_FIRST_BEAT


def test_an_agent_that_loads_may_be_silent_for_the_time_to_start_as_loading_may_hold_its_interpreter() -> None:
    node = a_new_node()
    node.handle_heartbeat(a_beat(is_loaded=False), BEAT_MS)
    assert judge_silence(node, RULES, BEAT_MS + 59_999) is None
    too_long = Verdict(NodeEvent.TOO_LONG_SILENT, "silent for 1 min while loading its engine")
    assert judge_silence(node, RULES, BEAT_MS + 60_000) == too_long
    node.handle_heartbeat(a_beat(), BEAT_MS + 60_000)
    assert judge_silence(node, RULES, BEAT_MS + 61_500) == Verdict(NodeEvent.SILENT, "silent for 1.5 s")


def test_an_agent_that_was_taken_over_has_to_beat_before_it_would_be_lost() -> None:
    node = a_new_node(is_restored=True)
    assert judge_silence(node, RULES, STARTED_MS + 2_999) is None
    assert judge_silence(node, RULES, STARTED_MS + 3_000) == NO_FIRST_BEAT


def rest_ms(respawns: Respawns, name: str, now_ms: int) -> int:
    """How long an agent is not to be started there."""
    return next(ms for ms in range(0, 100_000, 1) if not respawns.is_resting(name, now_ms + ms))


def test_the_rest_of_a_node_doubles_with_each_loss_up_to_half_a_minute() -> None:
    respawns = Respawns(1_000)
    rests = []
    for _ in range(7):
        respawns.handle_lost("node-a", 0)
        rests.append(rest_ms(respawns, "node-a", 0))
    assert rests == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


def test_a_node_that_is_forgiven_begins_again_and_others_are_not_touched() -> None:
    respawns = Respawns(1_000)
    for name in ("node-a", "node-a", "node-b", "node-b"):
        respawns.handle_lost(name, 0)
    respawns.forgive("node-a")
    respawns.forgive("node-c")
    assert [rest_ms(respawns, name, 0) for name in ("node-a", "node-b", "node-c")] == [0, 2_000, 0]
    respawns.handle_lost("node-a", 500)
    assert rest_ms(respawns, "node-a", 500) == 1_000
