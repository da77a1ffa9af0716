"""Where a job goes after an attempt has failed: another node, and when there is none to hope for, the same one."""

from ray_sched.core.errors import Code
from ray_sched.core.reasons import Reason
from tests.support.builders import DispatchHarness, a_draining_node, a_node, accepted, failed, refused, where


def test_the_node_of_the_failed_attempt_is_tried_again_when_it_is_the_only_one() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    assert where(harness.report(failed(job))) == [(job, 2, "node-a")]


def test_before_its_time_is_up_a_job_takes_the_node_of_its_failed_attempt_rather_than_none() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_node("node-b", slots=0, total_slots=2, why=Reason.NOT_READY))
    job = harness.submit()
    harness.report(refused(job))
    harness.wait(4_999)
    assert harness.status(job) == "pending", "another node could do it at all, and may be ready soon"
    assert where(harness.wait(1)) == [(job, 2, "node-a")]


def test_a_job_comes_back_to_the_node_of_its_failed_attempt_at_once_when_the_other_one_is_draining() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"), a_draining_node("node-b"))
    job = harness.submit()
    harness.report(accepted(job))
    assert where(harness.report(failed(job))) == [(job, 2, "node-a")]


def test_a_job_for_which_a_model_is_missing_on_its_only_node_is_tried_there_again_in_time() -> None:
    """It had waited, and failed, beside an idle node: the node was left alone for a minute, the job had ten seconds."""
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    harness.report(accepted(job))
    harness.report(failed(job, code=Code.MODEL_NOT_AVAILABLE, service="asr"))
    harness.wait(4_999)
    assert harness.status(job) == "pending", "a moment later it would be missing still"
    assert where(harness.wait(1)) == [(job, 2, "node-a")]
    harness.run(job)
    assert harness.status(job) == "completed"


def test_a_model_that_stays_missing_costs_a_job_all_its_attempts_and_no_more() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit()
    for attempt in range(1, 5):
        harness.wait(6_000 if attempt > 1 else 1)
        assert harness.job(job).attempt == attempt
        harness.report(accepted(job, attempt), failed(job, attempt, code=Code.MODEL_NOT_AVAILABLE, service="asr"))
    assert harness.job(job).outcome.error.code is Code.MODEL_NOT_AVAILABLE  # type: ignore[union-attr]  # it has failed


def test_a_job_that_avoids_the_only_free_node_does_not_keep_those_behind_it_waiting() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1), a_node("node-b", slots=1))
    one, two = harness.submit("r1"), harness.submit("r2")
    behind = harness.submit("r3")
    effects = harness.report(accepted(one), failed(one), node=harness.job(one).node)
    assert [job for job, *_ in where(effects)] == [behind]
    assert harness.status(one) == "pending"
    assert [job for job, *_ in where(harness.run(two, node=harness.job(two).node))] == [one]
