"""Reports leave in order and in batches, and each is repeated until it was acknowledged."""

from ray_sched.core.agent.reports import REPEAT_AFTER_MS, ReportQueue
from ray_sched.core.messages.agent_dispatcher import RunAccepted, RunPartial, RunStopped
from ray_sched.core.messages.fields import MAX_BATCH


def stopped(number: int) -> RunStopped:
    return RunStopped(job_id=f"j{number}", attempt=1)


def partial(text: str, job_id: str = "j1") -> RunPartial:
    return RunPartial(job_id=job_id, attempt=1, text=text)


def accepted(age_ms: int = 0) -> RunAccepted:
    return RunAccepted(job_id="j1", attempt=1, audio_ms=1_000, audio_bytes=32_000, age_ms=age_ms)


def test_what_is_in_a_hurry_takes_with_it_what_waits_in_the_order_of_both() -> None:
    reports = ReportQueue()
    reports.put(stopped(1), 0, within_ms=20)
    assert reports.take(0) == ()
    reports.put(stopped(2), 5)
    assert reports.take(5) == (stopped(1), stopped(2))


def test_what_has_more_time_does_not_hold_up_what_has_less() -> None:
    reports = ReportQueue()
    reports.put(stopped(1), 0, within_ms=1)
    reports.put(stopped(2), 0, within_ms=20)
    assert reports.due_at_ms == 1


def test_while_a_batch_is_on_its_way_all_collects_and_leaves_when_it_was_acknowledged() -> None:
    reports = ReportQueue()
    reports.put(stopped(1), 0)
    assert reports.take(0) == (stopped(1),)
    reports.put(stopped(2), 1)
    reports.put(stopped(3), 1, within_ms=20)
    assert reports.take(1) == ()
    assert len(reports) == 3
    reports.acknowledge(2)
    assert reports.due_at_ms == 2
    assert reports.take(2) == (stopped(2), stopped(3))
    reports.acknowledge(3)
    assert len(reports) == 0


def test_nothing_is_due_while_a_batch_is_on_its_way_or_nothing_waits() -> None:
    reports = ReportQueue()
    assert reports.due_at_ms is None
    reports.put(stopped(1), 0)
    reports.take(0)
    reports.put(stopped(2), 0)
    assert reports.due_at_ms is None


def test_a_batch_that_failed_is_sent_again_after_a_moment_with_what_has_come_since() -> None:
    reports = ReportQueue()
    reports.put(stopped(1), 0)
    reports.take(0)
    reports.fail(100)
    reports.put(stopped(2), 110)
    assert reports.due_at_ms == 100 + REPEAT_AFTER_MS
    assert reports.take(100 + REPEAT_AFTER_MS - 1) == ()
    assert reports.take(100 + REPEAT_AFTER_MS) == (stopped(1), stopped(2))
    reports.fail(500)
    assert reports.take(500 + REPEAT_AFTER_MS) == (stopped(1), stopped(2))


def test_a_batch_is_never_larger_than_a_call_may_be() -> None:
    reports = ReportQueue()
    for number in range(MAX_BATCH + 1):
        reports.put(stopped(number), 0)
    assert len(reports.take(0)) == MAX_BATCH
    reports.acknowledge(1)
    assert reports.take(1) == (stopped(MAX_BATCH),)


def test_an_acceptance_is_as_old_as_it_is_each_time_it_is_sent() -> None:
    reports = ReportQueue()
    reports.put(accepted(), 100, within_ms=20, since_ms=90)
    assert reports.take(120) == (accepted(age_ms=30),)
    reports.fail(200)
    assert reports.take(400) == (accepted(age_ms=310),)


def test_only_acceptances_are_dated() -> None:
    reports = ReportQueue()
    reports.put(stopped(1), 0)
    assert reports.take(50) == (stopped(1),)


def test_a_newer_partial_text_replaces_the_one_that_waits_and_keeps_its_place() -> None:
    reports = ReportQueue()
    for number in range(1_000):
        reports.put_partial(partial(f"text {number}"), 0)
    reports.put_partial(partial("of another", "j2"), 0)
    reports.put_partial(partial("the newest"), 0)
    assert reports.take(0) == (partial("the newest"), partial("of another", "j2"))


def test_a_partial_text_that_is_on_its_way_is_followed_by_the_newer_one() -> None:
    reports = ReportQueue()
    reports.put_partial(partial("first"), 0)
    assert reports.take(0) == (partial("first"),)
    reports.put_partial(partial("second"), 1)
    reports.put_partial(partial("third"), 1)
    reports.acknowledge(2)
    assert reports.take(2) == (partial("third"),)


def test_however_often_sending_fails_one_partial_text_of_each_attempt_waits_the_newest() -> None:
    reports = ReportQueue()
    now_ms = 0
    for number in range(10):
        reports.put_partial(partial(f"text {number}"), now_ms)
        sent = reports.take(now_ms)
        reports.put_partial(partial(f"newer than {number}"), now_ms)
        reports.fail(now_ms)
        assert (len(sent), len(reports)) == (1, 1)
        now_ms += REPEAT_AFTER_MS
    assert reports.take(now_ms) == (partial("newer than 9"),)


def test_a_partial_text_that_failed_and_has_no_newer_one_is_sent_again_before_the_end_of_its_run() -> None:
    reports = ReportQueue()
    reports.put_partial(partial("some"), 0)
    reports.take(0)
    reports.put(stopped(1), 1)
    reports.fail(2)
    assert reports.take(2 + REPEAT_AFTER_MS) == (partial("some"), stopped(1))
