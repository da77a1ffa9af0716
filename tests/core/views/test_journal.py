"""What is written down for programs: enough to replay what came."""

from ray_sched.core.dispatch.history import History, HistoryLine, What
from ray_sched.core.views.journal import JournalJob, JournalRow, journal_rows
from tests.support.builders import DispatchHarness, a_node, accepted, finished


def test_a_job_is_written_with_what_its_replay_needs_when_it_comes_and_when_it_ends() -> None:
    harness = DispatchHarness()
    harness.offer(a_node())
    job = harness.submit(session="s", priority=3, tenant="acme", trace_id="t1")
    harness.now_ms += 40
    harness.report(accepted(job, audio_ms=1_200))
    harness.now_ms += 500
    harness.report(finished(job, run_ms=480))
    rows = journal_rows(harness.brain, 1)
    assert [row.what for row in rows] == ["submitted", "assigned", "accepted", "ran", "ended"]
    came = {"client": "c1", "src": "en", "tgt": "en", "services": ("asr",), "utterance_index": 0}
    came |= {"priority": 3, "tenant": "acme"}
    assert rows[0] == JournalRow(
        number=2,
        at_ms=1_000_000,
        what="submitted",
        text="submitted",
        job_id=job,
        attempt=1,
        session="s",
        trace_id="t1",
        job=JournalJob(**came, audio_ms=1_000),  # type: ignore[arg-type]  # as the table has them
    )
    ended = {"audio_ms": 1_200, "status": "completed", "wait_ms": 40, "run_ms": 480}
    assert rows[-1].job == JournalJob(**came, **ended)  # type: ignore[arg-type]  # as above
    assert journal_rows(harness.brain, harness.brain.history.last) == []


def test_a_job_that_failed_is_written_with_its_code_and_one_that_is_forgotten_without_more() -> None:
    harness = DispatchHarness()
    harness.submit()
    harness.wait(10_000)
    ended = journal_rows(harness.brain, 0)[-1].job
    assert ended is not None
    assert (ended.status, ended.code) == ("failed", "NO_AVAILABLE_NODE")
    harness.clean_up(0)
    assert journal_rows(harness.brain, 0)[-1].job is None


def test_lines_that_came_faster_than_they_were_written_are_counted() -> None:
    harness = DispatchHarness()
    harness.brain.history = History(most_lines=3)
    harness.brain.history.add([HistoryLine(n, What.NOTED, f"line {n}") for n in range(1, 9)])
    rows = journal_rows(harness.brain, 2)
    assert [(row.number, row.what, row.text) for row in rows][:2] == [(3, "lost", "3 lines"), (6, "noted", "line 6")]
