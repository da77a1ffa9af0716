"""What a person who asks the Dispatcher is answered: numbers, lists and explanations, word for word."""

from typing import Any

import pytest

from ray_sched.core.effects import ClientBlocked, DrainBegan, PoolClosed
from ray_sched.core.errors import Code, Refusal, SchedError
from ray_sched.core.messages.client_dispatcher import AudioUnreadable
from ray_sched.core.placement.policy import RankingPolicy
from ray_sched.core.reasons import SENTENCE, Reason
from ray_sched.core.views.explain import explain
from ray_sched.core.views.explanation import NodeVerdict
from ray_sched.core.views.job_filter import JobFilter
from ray_sched.core.views.jobs import ClusterView, JobView, job_view, jobs_view, status_view
from tests.support.builders import (
    DispatchHarness,
    a_draining_node,
    a_node,
    accepted,
    finished,
    refused,
)


def numbers(harness: DispatchHarness) -> ClusterView:
    return status_view(
        harness.brain, harness.now_ms, held_bytes=640, stored_bytes=320, store_error="Redis does not answer"
    )


def unreadable(harness: DispatchHarness, job: str) -> None:
    """The audio of a job on a node cannot be read: the job fails."""
    refusal = Refusal(code=Code.INVALID_AUDIO, message="no samples")
    harness.send(AudioUnreadable(job_id=job, attempt=harness.job(job).attempt, refusal=refusal))


def a_row(job_id: str, **changes: object) -> JobView:
    """The row of a transcription of one second that has just been submitted."""
    facts: dict[str, object] = {
        "job_id": job_id,
        "name": "",
        "status": "pending",
        "pair": "en:en",
        "services": ("asr",),
        "session": "",
        "utterance_index": None,
        "node": "",
        "attempt": 1,
        "priority": 0,
        "tenant": "",
        "submitted_at_ms": 1_000_000,
        "age_ms": 0,
        "wait_ms": 0,
        "run_ms": 0,
        "ended_ago_ms": None,
        "audio_ms": 1_000,
        "error": "",
    }
    return JobView(**(facts | changes))  # type: ignore[arg-type]


# --- status ----------------------------------------------------------------------------------------------------------


def test_a_scheduler_that_has_done_nothing_says_so_of_everything() -> None:
    harness = DispatchHarness()
    assert numbers(harness) == ClusterView(
        jobs={
            "pending": 0,
            "assigned": 0,
            "processing": 0,
            "completed": 0,
            "completed_no_text": 0,
            "failed": 0,
            "cancelled": 0,
        },
        waiting=0,
        ended_per_s=0.0,
        slots=0,
        free_slots=0,
        spent_slots=0,
        sessions=0,
        held_bytes=640,
        stored_bytes=320,
        counters={
            "submitted": 0,
            "duplicates": 0,
            "assigned": 0,
            "requeued": 0,
            "refused": 0,
            "late_messages": 0,
            "gaps": 0,
            "late_results": 0,
            "cleaned": 0,
        },
        no_node={},
        rejected={},
        is_draining=False,
        store_error="Redis does not answer",
    )


def test_status_counts_jobs_by_status_and_slots_by_what_is_on_them() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=4))
    harness.offer(a_node("node-b", slots=3), pool="pool-2")
    done, running, *_ = (harness.submit(f"r{n}", session="s" if n < 2 else "") for n in range(9))
    harness.run(done, node=harness.job(done).node)
    harness.report(accepted(running), node=harness.job(running).node)
    harness.cancel(harness.submit("unwanted"))
    view = numbers(harness)
    assert view.jobs == {
        "pending": 1,
        "assigned": 6,
        "processing": 1,
        "completed": 1,
        "completed_no_text": 0,
        "failed": 0,
        "cancelled": 1,
    }
    assert (view.waiting, view.sessions) == (1, 1)
    assert (view.slots, view.free_slots, view.spent_slots) == (7, 0, 7)


def test_slots_count_while_their_lease_lasts_and_those_with_a_job_on_them_as_long_as_it_is_there() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=4))
    harness.submit()
    term_ends_at_ms = harness.brain.node_states["node-a"].term_ends_at_ms
    harness.now_ms = term_ends_at_ms - 1
    before = numbers(harness)
    harness.now_ms = term_ends_at_ms
    after = numbers(harness)
    assert (before.slots, before.free_slots, before.spent_slots) == (4, 3, 1)
    assert (after.slots, after.free_slots, after.spent_slots) == (0, 0, 1)


def test_status_counts_what_has_happened_since_the_start() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=4))
    empty, gone, again, late, unwanted = (harness.submit(f"r{n}") for n in range(5))
    harness.answer("r0")
    harness.report(accepted(empty), finished(empty, text=""))
    unreadable(harness, gone)
    harness.report(refused(again))
    harness.report(accepted(late, attempt=2), accepted(late, attempt=3))
    harness.cancel(unwanted)
    for _ in range(2):
        harness.refusal("r9", src="en", tgt="en", services=("tts", "asr"), utterance_index=1)
    view = numbers(harness)
    counted = {name: n for name, n in view.counters.items() if n}
    count = harness.brain.counters
    assert view.counters["submitted"] == 5
    assert view.counters["duplicates"] == 1
    assert counted == {
        "submitted": 5,
        "duplicates": 1,
        "assigned": count.assigned,
        "requeued": 1,
        "refused": 1,
        "late_messages": count.late_messages,
        "ended_cancelled": 1,
        "ended_completed_no_text": 1,
        "ended_failed": 1,
    }
    assert list(view.rejected.items()) == [("INVALID_MESSAGE", 2)]


def test_status_counts_gaps_and_what_came_after_them_and_what_was_cleaned_up() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=4))
    harness.run(harness.submit("r1", session="s", utterance_index=2))
    harness.wait(120_000)
    harness.run(harness.submit("r0", session="s", utterance_index=0))
    harness.wait(10_000)
    harness.clean_up(1)
    counters = numbers(harness).counters
    assert (counters["gaps"], counters["late_results"], counters["cleaned"]) == (1, 1, 2)


def test_status_says_how_many_jobs_end_in_a_second_with_two_decimals() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=4))
    harness.wait(1_000)
    for n in range(4):
        harness.run(harness.submit(f"r{n}"))
    harness.wait(3_000)
    assert numbers(harness).ended_per_s == 0.51


def test_status_says_why_jobs_found_no_node_in_time() -> None:
    harness = DispatchHarness()
    busy = a_node("node-a", slots=0, total_slots=1, why=Reason.RESOURCE_THRESHOLD)
    harness.offer(busy, a_draining_node("node-b"))
    harness.submit("r1")
    harness.submit("r2")
    harness.wait(11_000)
    assert list(numbers(harness).no_node.items()) == [("RESOURCE_THRESHOLD", 2)]


def test_status_says_when_no_new_jobs_are_taken() -> None:
    harness = DispatchHarness()
    harness.handle(DrainBegan())
    assert numbers(harness).is_draining


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_row_says_what_a_job_is_and_where() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit(session="s", utterance_index=3, name="call.wav", priority=7)
    harness.report(refused(job))
    harness.wait(1_000)
    harness.now_ms += 500
    assert job_view(harness.job(job), harness.now_ms) == a_row(
        job,
        name="call.wav",
        status="assigned",
        session="s",
        utterance_index=3,
        node="node-a",
        attempt=2,
        priority=7,
        age_ms=1_500,
        wait_ms=1_500,
    )


def test_a_job_that_has_ended_grows_older_and_says_when_it_ended_and_why() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit(tenant="t")
    harness.now_ms += 200
    unreadable(harness, job)
    harness.now_ms += 60_000
    assert job_view(harness.job(job), harness.now_ms) == a_row(
        job,
        status="failed",
        node="node-a",
        tenant="t",
        age_ms=60_200,
        wait_ms=200,
        ended_ago_ms=60_000,
        error="INVALID_AUDIO: no samples",
    )


def test_a_job_tells_how_long_it_waited_and_how_long_it_runs_or_ran() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit()

    def times() -> tuple[int, int, int, int | None]:
        row = job_view(harness.job(job), harness.now_ms)
        return row.age_ms, row.wait_ms, row.run_ms, row.ended_ago_ms

    harness.now_ms += 30
    assert times() == (30, 30, 0, None)
    harness.report(accepted(job))
    harness.now_ms += 100
    assert times() == (130, 30, 100, None)
    harness.report(finished(job))
    harness.now_ms += 1_000
    assert times() == (1_130, 30, 100, 1_000)


def test_the_newest_jobs_come_first_up_to_the_limit() -> None:
    harness = DispatchHarness()
    jobs = [harness.submit(f"r{n}") for n in range(4)]
    three = jobs_view(harness.brain, harness.now_ms, JobFilter(), 3)
    assert [row.job_id for row in three] == [jobs[3], jobs[2], jobs[1]]
    assert jobs_view(harness.brain, harness.now_ms, JobFilter(), 1) == [a_row(jobs[3])]
    assert len(jobs_view(harness.brain, harness.now_ms, JobFilter(), 10)) == 4


def test_a_list_holds_jobs_of_the_statuses_that_are_named_and_its_limit_counts_only_these() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=2))
    first, second, third, _ = (harness.submit(f"r{n}") for n in range(4))
    harness.report(accepted(first))

    def ask(limit: int, *statuses: str) -> list[str]:
        return [row.job_id for row in jobs_view(harness.brain, harness.now_ms, JobFilter(statuses=statuses), limit)]

    assert ask(10, "processing") == [first]
    assert ask(10, "assigned", "processing") == [second, first]
    assert ask(1, "assigned", "processing") == [second]
    assert ask(2, "pending")[1:] == [third]
    assert ask(10, "failed") == []


def test_a_list_holds_the_jobs_that_agree_with_all_that_was_said() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    first = harness.submit("r1", session="call-1", name="a.wav", tenant="t1")
    second = harness.submit("r2", session="call-2", name="/audio/b.wav", tenant="t1")
    other = harness.submit("r3", session="other", name="a.wav", src="de", tgt="en", services=("asr", "mt"))
    there = harness.job(first).node

    def found(**said: Any) -> list[str]:
        return [row.job_id for row in jobs_view(harness.brain, harness.now_ms, JobFilter(**said), 10)]

    assert found() == [other, second, first]
    assert found(session="call-2") == [second]
    assert found(session="call-*") == [second, first]
    assert found(node=there) == [first]
    assert found(name="a.wav") == [other, first]
    assert found(name="a.wav", tenant="t1") == [first]
    assert found(name="b.wav") == found(name="/audio/b*") == [second]
    assert found(tenant="t*", statuses=("assigned",)) == [second, first]
    assert found(pair="de:en") == [other]
    assert found(pair="en") == [second, first]
    assert found(session="call-1", name="b.wav") == found(job_ids=(first,), name="b.wav") == []
    assert found(job_ids=(first, other)) == [other, first]


# --- explain ---------------------------------------------------------------------------------------------------------


def summary(harness: DispatchHarness, job: str) -> str:
    return explain(harness.brain, job, harness.now_ms).summary


def test_a_job_that_is_not_known_is_refused_with_its_name_in_short() -> None:
    with pytest.raises(SchedError, match=rf"\Athere is no job '{'j' * 80}'; finished jobs are forgotten") as caught:
        explain(DispatchHarness().brain, "j" * 81, 0)
    assert caught.value.code is Code.UNKNOWN_JOB


def test_a_job_waits_for_a_node_when_there_is_none() -> None:
    harness = DispatchHarness()
    job = harness.submit(deadline_ms=4_000)
    harness.now_ms += 1_000
    told = explain(harness.brain, job, harness.now_ms)
    assert told.summary == "waits for a node: there is none; gives up in 3 s"
    assert (told.ahead, told.nodes) == (0, ())
    harness.now_ms += 9_000
    assert summary(harness, job) == "waits for a node: there is none; gives up in 0 ms"


def test_a_node_that_is_out_because_of_a_threshold_says_which() -> None:
    harness = DispatchHarness()
    over = a_node("node-a", slots=0, total_slots=1, why=Reason.RESOURCE_THRESHOLD, because="memory at 93 %, limit 85 %")
    loading = a_node("node-b", slots=0, total_slots=1, why=Reason.NOT_READY, because="loading its engine")
    harness.offer(over, loading)
    job = harness.submit("r1")
    said = [verdict.sentence for verdict in explain(harness.brain, job, harness.now_ms).nodes]
    assert said == [
        "the node's CPU, GPU or memory is at or above its threshold: memory at 93 %, limit 85 %",
        SENTENCE[Reason.NOT_READY] + ": loading its engine",
    ]
    assert "(node-a: memory at 93 %, limit 85 %)" in summary(harness, job)
    harness.wait(11_000)
    assert harness.job(job).outcome.error.message.endswith(  # type: ignore[union-attr]  # it has failed
        "1 x RESOURCE_THRESHOLD (node-a: memory at 93 %, limit 85 %); 1 x NOT_READY (node-b)"
    )
    harness.offer(a_node("node-a", slots=1))
    again = harness.submit("r2")
    assert harness.job(again).node == "node-a"
    told = {verdict.node: verdict.sentence for verdict in explain(harness.brain, again, harness.now_ms).nodes}
    assert told["node-a"] == SENTENCE[Reason.CAPACITY_FULL]


def test_a_job_whose_client_is_blocked_says_that_it_waits_for_that() -> None:
    harness = DispatchHarness()
    job = harness.submit("first")
    harness.handle(ClientBlocked("c1"))
    harness.offer(a_node("node-a"))
    assert summary(harness, job) == (
        "waits for its client, whose event loop is blocked; would start now if its client answered"
    )


def test_a_job_with_a_deadline_whose_client_is_blocked_says_how_long_it_waits() -> None:
    harness = DispatchHarness()
    job = harness.submit("first", deadline_ms=4_000)
    harness.handle(ClientBlocked("c1"))
    harness.now_ms += 1_000
    assert summary(harness, job) == "waits for its client, whose event loop is blocked; gives up in 3 s"


def test_a_waiting_job_says_what_speaks_against_each_node_and_how_many_come_first() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_draining_node("node-b"))
    for n in range(3):
        harness.submit(f"r{n}")
    job = harness.submit("last")
    told = explain(harness.brain, job, harness.now_ms)
    assert told.job == a_row(job)
    assert told.ahead == 2
    assert told.summary == (
        "waits for a node: 1 x CAPACITY_FULL (node-a); 1 x DRAINING (node-b); "
        "starts in about 3 s (1.2 s to 4.7 s, by an assumed speed) when a slot on node-a is free; "
        "would start in about 1 s if node-b were not draining; 2 jobs come first; gives up in 10 s"
    )
    assert told.nodes == (
        NodeVerdict(node="node-a", reason="CAPACITY_FULL", sentence=SENTENCE[Reason.CAPACITY_FULL]),
        NodeVerdict(node="node-b", reason="DRAINING", sentence=SENTENCE[Reason.DRAINING]),
    )
    first = min(harness.brain.waiting.all(), key=lambda job: job.number)
    assert summary(harness, first.job_id) == (
        "waits for a node: 1 x CAPACITY_FULL (node-a); 1 x DRAINING (node-b); "
        "starts in about 1 s (0 ms to 2 s, by an assumed speed) when a slot on node-a is free; "
        "would start now if node-b were not draining; gives up in 10 s"
    )


def test_others_come_first_where_nothing_speaks_against_one_of_the_nodes() -> None:
    harness = DispatchHarness(policy=RankingPolicy(filters=()))
    harness.offer(a_node("node-a", slots=1))
    harness.submit("first")
    job = harness.submit("second")
    assert summary(harness, job) == (
        "waits for a node: others come first; "
        "starts in about 1 s (0 ms to 2 s, by an assumed speed) when a slot on node-a is free; gives up in 10 s"
    )


def test_an_assigned_job_says_since_when_and_a_running_one_what_it_does() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit()
    harness.now_ms += 300
    told = explain(harness.brain, job, harness.now_ms)
    assert told.summary == "assigned to node-a 300 ms ago; the submitter brings the audio"
    assert told.ahead is None
    harness.report(accepted(job))
    harness.now_ms += 700
    assert summary(harness, job) == "accepted by node-a 700 ms ago; it runs there"
    harness.report(finished(job, speech_bytes=640))
    assert summary(harness, job) == "accepted by node-a 700 ms ago; its speech waits to be fetched"


def test_a_job_that_has_ended_says_how_and_when_and_where() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    done = harness.submit("done")
    harness.run(done)
    broken = harness.submit("broken")
    unreadable(harness, broken)
    harness.handle(PoolClosed("pool-1"))
    cancelled = harness.submit("cancelled")
    harness.cancel(cancelled)
    harness.now_ms += 50
    assert summary(harness, done) == "completed 50 ms ago on node-a"
    assert summary(harness, broken) == "failed 50 ms ago on node-a: no samples"
    assert summary(harness, cancelled).startswith("cancelled 50 ms ago on no node: ")


def test_a_job_whose_result_waits_for_earlier_ones_says_so() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    harness.submit("first", session="s", utterance_index=0)
    job = harness.submit("second", session="s", utterance_index=1)
    harness.run(job)
    assert summary(harness, job) == "completed 0 ms ago on node-a; its result waits for earlier ones of its session"


def test_nodes_are_sorted_by_how_good_they_are_and_those_that_are_none_come_last() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("loaded"))
    job = harness.submit()
    harness.offer(a_node("loaded"), a_node("other"), a_draining_node("drained"), a_draining_node("another"))
    told = explain(harness.brain, job, harness.now_ms)
    assert [verdict.node for verdict in told.nodes] == ["other", "loaded", "another", "drained"]
    assert [verdict.score for verdict in told.nodes] == [1.0, 1.125, None, None]


def test_a_node_that_is_done_in_no_time_comes_first() -> None:
    harness = DispatchHarness()
    harness.brain.speeds.load({"fast": {"en:en": 10_000.0}, "a slow one": {"en:en": 1.0}})
    harness.offer(a_node("fast"), a_node("a slow one"))
    told = explain(harness.brain, harness.submit(audio_ms=400), harness.now_ms)
    assert [(verdict.node, verdict.score) for verdict in told.nodes] == [("fast", 0.0), ("a slow one", 0.4)]


def test_nodes_that_are_equally_good_are_sorted_by_name() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    harness.handle(DrainBegan())
    harness.offer(a_node("node-c"), a_node("node-b"), a_node("node-a"))
    harness.cancel(job)
    assert [verdict.node for verdict in explain(harness.brain, job, harness.now_ms).nodes] == [
        "node-a",
        "node-b",
        "node-c",
    ]


def test_a_score_is_shown_with_its_parts_in_four_digits() -> None:
    harness = DispatchHarness()
    harness.offer(a_node(slots=3))
    job = harness.submit(audio_ms=333_333, session="s")
    told = explain(harness.brain, job, harness.now_ms)
    assert told.nodes == (
        NodeVerdict(
            node="node-a",
            score=288.8886,
            parts={"expected_completion_s": 333.333, "affinity": 0.8, "occupancy": 1.0833, "slow_start": 1.0},
        ),
    )


def test_the_story_counts_from_the_submission() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit()
    harness.now_ms += 100
    harness.report(refused(job))
    harness.wait(100)
    harness.report(accepted(job, attempt=2))
    told = explain(harness.brain, job, harness.now_ms)
    assert told.story[:2] == ((0, 1, "submitted"), (0, 1, "assigned to node-a"))
    assert told.story[2:] == (
        (100, 1, "back to pending: full"),
        (200, 2, "assigned to node-a"),
        (200, 2, "accepted by node-a"),
    )
