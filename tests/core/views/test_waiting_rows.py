"""All that waits, by why."""

from ray_sched.core.effects import ClientBlocked, StoreWentAway
from ray_sched.core.slices import whole
from ray_sched.core.views.explanation import WaitingRow
from ray_sched.core.views.waiting import explaining_all
from tests.support.builders import DispatchHarness, a_draining_node, a_node, accepted


def rows(harness: DispatchHarness) -> list[WaitingRow]:
    return whole(explaining_all(harness.brain, harness.now_ms))


def test_jobs_are_counted_by_the_nearest_reason_with_the_oldest_of_them() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_draining_node("node-b"))
    harness.report(accepted(harness.submit("first", audio_ms=60_000)))
    oldest = harness.submit("r1")
    harness.now_ms += 700
    german = [harness.submit(f"d{n}", src="de", tgt="de") for n in range(2)]
    blocked = harness.submit("b", client="c2")
    harness.submit("r2")
    harness.submit("r3")
    harness.handle(ClientBlocked("c2"))
    harness.now_ms += 300
    assert rows(harness) == [
        WaitingRow(
            tier="ALL_BUSY",
            reason="CAPACITY_FULL",
            jobs=3,
            nodes=1,
            pairs=("en:en",),
            oldest_ms=1_000,
            oldest_job=oldest,
        ),
        WaitingRow(
            tier="NO_NODE_OFFERS_IT",
            reason="ASR_LANG_UNSUPPORTED",
            jobs=2,
            nodes=2,
            pairs=("de:de",),
            oldest_ms=300,
            oldest_job=german[0],
        ),
        WaitingRow(
            tier="CLIENT_BLOCKED",
            reason="CLIENT_BLOCKED",
            jobs=1,
            pairs=("en:en",),
            oldest_ms=300,
            oldest_job=blocked,
        ),
    ]


def test_when_redis_is_away_everything_waits_for_that() -> None:
    harness = DispatchHarness()
    assert rows(harness) == []
    harness.handle(StoreWentAway())
    for n in range(3):
        harness.submit(f"r{n}", src="en" if n else "de", tgt="en" if n else "de")
    (row,) = rows(harness)
    assert (row.reason, row.jobs, row.nodes) == ("STORE_AWAY", 3, 0)


def test_of_very_many_kinds_of_jobs_the_smallest_are_told_together() -> None:
    harness = DispatchHarness()
    harness.offer(a_draining_node("node-a"))
    tags = [f"{a}{b}" for a in "abcdefghijkl" for b in "abcdefghij"]
    for n, tag in enumerate(tags):
        harness.submit(f"r{n}", src=tag, tgt=tag)
    told = {row.reason: row.jobs for row in rows(harness)}
    assert told == {"ASR_LANG_UNSUPPORTED": 100, "NOT_ASKED": 20}
