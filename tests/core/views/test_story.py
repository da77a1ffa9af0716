"""What has happened, as people ask for it: of a job, a session, a node, lately, and from some line on."""

from typing import Any

import pytest

from ray_sched.core.dispatch.brain import DispatchBrain
from ray_sched.core.dispatch.history import History, HistoryLine, What
from ray_sched.core.errors import Code, SchedError
from ray_sched.core.job import from_record, to_record
from ray_sched.core.reasons import Reason
from ray_sched.core.rules import DeliveryRules, DispatchRules, SelectionRules
from ray_sched.core.slices import whole
from ray_sched.core.views.story import telling
from ray_sched.core.views.story_rows import Story, Told
from tests.support.builders import DispatchHarness, a_draining_node, a_node, accepted, finished, refused


def story(harness: DispatchHarness, **said: Any) -> Story:
    return whole(telling(harness.brain, Told(**said), harness.now_ms))


def texts(harness: DispatchHarness, **said: Any) -> list[str]:
    return [row.text for row in story(harness, **said).rows]


def test_the_story_of_a_job_is_all_that_happened_to_it_with_its_node_and_attempt() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job, other = harness.submit("r1", session="s"), harness.submit("r2")
    harness.report(refused(job), accepted(other))
    harness.wait(1_000)
    harness.report(accepted(job, 2), finished(job, 2))
    told = story(harness, job_id=job)
    assert [(row.what, row.attempt, row.node, row.text) for row in told.rows] == [
        ("submitted", 1, "", "submitted"),
        ("assigned", 1, "node-a", "assigned to node-a"),
        ("requeued", 1, "node-a", "back to pending: full"),
        ("assigned", 2, "node-a", "assigned to node-a"),
        ("accepted", 2, "node-a", "accepted by node-a"),
        ("ran", 2, "node-a", "ran 500 ms on node-a"),
        ("ended", 2, "node-a", "completed"),
    ]
    assert {(row.job_id, row.session) for row in told.rows} == {(job, "s")}
    assert told.is_over
    assert not story(harness, job_id=other).is_over
    assert texts(harness, session="s") == texts(harness, job_id=job)


def test_the_story_of_a_node_is_how_it_came_what_it_did_and_how_it_went() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.run(job)
    over = a_node("node-a", slots=0, total_slots=2, why=Reason.RESOURCE_THRESHOLD, because="memory at 93 %")
    harness.offer(over)
    harness.offer(over)
    harness.offer(a_node("node-a"))
    harness.offer(a_draining_node("node-a"))
    harness.offer()
    assert texts(harness, node="node-a") == [
        "joined pool-1: ready with 2 slots",
        "assigned to node-a",
        "accepted by node-a",
        "ran 500 ms on node-a",
        "completed",
        "RESOURCE_THRESHOLD (memory at 93 %)",
        "ready with 2 slots",
        "DRAINING",
        "the node left its pool",
    ]


def test_only_what_happened_lately_is_told_to_who_asks_for_that() -> None:
    harness = DispatchHarness()
    harness.submit("r1")
    harness.now_ms += 5_000
    job = harness.submit("r2")
    assert [row.job_id for row in story(harness, since_ms=4_999).rows] == [job]
    assert len(story(harness, since_ms=5_000).rows) == 2


def test_who_follows_is_told_what_came_after_and_nothing_twice() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    first = story(harness, job_id=job)
    assert story(harness, job_id=job, after=first.last).rows == ()
    harness.offer(a_node())
    harness.run(job)
    then = story(harness, job_id=job, after=first.last)
    assert [row.what for row in then.rows] == ["assigned", "accepted", "ran", "ended"]
    assert then.is_over
    assert [row.number for row in then.rows] == list(range(then.last - 3, then.last + 1))


def test_the_newest_lines_are_told_up_to_the_limit() -> None:
    harness = DispatchHarness()
    jobs = [harness.submit(f"r{n}") for n in range(5)]
    assert [row.job_id for row in story(harness, limit=2).rows] == jobs[-2:]


def test_a_job_that_is_not_known_has_a_story_as_long_as_the_history_reaches() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit()
    harness.run(job)
    harness.clean_up(0)
    assert texts(harness, job_id=job)[-1] == "completed"
    with pytest.raises(SchedError, match="there is no job 'nonsense'") as caught:
        story(harness, job_id="nonsense")
    assert caught.value.code is Code.UNKNOWN_JOB


def test_what_happened_before_a_restart_is_told_from_the_record_of_the_job() -> None:
    before = DispatchHarness()
    before.offer(a_node())
    job = before.submit()
    before.report(accepted(job))
    harness = DispatchHarness()
    harness.brain = DispatchBrain("next", DispatchRules(), DeliveryRules(), SelectionRules())
    harness.now_ms = before.now_ms + 1_000
    harness.brain.restore([from_record(to_record(before.job(job)).record)], harness.now_ms)
    harness.offer(a_node())
    harness.report(finished(job))
    assert texts(harness, job_id=job) == [
        "submitted",
        "assigned to node-a",
        "accepted by node-a",
        "ran 500 ms on node-a",
        "completed",
    ]


def test_the_history_forgets_the_oldest_and_goes_on_counting() -> None:
    history = History(most_lines=3)
    assert (history.last, history.after(0)) == (0, [])
    lines = [HistoryLine(n, What.NOTED, f"line {n}") for n in range(1, 6)]
    history.add(lines[:2])
    assert history.after(1) == [(2, lines[1])]
    history.add(lines[2:])
    assert history.last == 5
    assert history.after(0) == list(enumerate(lines[2:], start=3))
    assert history.after(4) == [(5, lines[4])]
    assert history.after(5) == []
