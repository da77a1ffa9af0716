"""The Dispatcher's brain while nothing can be saved: nobody is told, so nothing may run out of time for it."""

from ray_sched.core.effects import Save, StoreCameBack, StoreWentAway, SubmitsWithdrawn
from ray_sched.core.messages.agent_dispatcher import StopRun
from ray_sched.core.messages.client_dispatcher import Accepted
from ray_sched.core.ports import ForgetJob
from ray_sched.core.rules import DispatchRules
from tests.support.builders import DispatchHarness, a_node, orders, stopped, where


def test_no_job_is_given_to_a_node_until_it_can_be_saved() -> None:
    harness = DispatchHarness()
    job = harness.submit()
    harness.handle(StoreWentAway())
    assert where(harness.offer(a_node("node-a"))) == []
    assert where(harness.handle(StoreCameBack())) == [(job, 1, "node-a")]


def test_an_assignment_of_which_nobody_could_hear_does_not_count_as_a_late_push() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a"))
    job = harness.submit(deadline_ms=60_000)
    harness.handle(StoreWentAway())
    harness.wait(30_000)
    harness.handle(StoreCameBack())
    harness.wait(1_000)
    assert (harness.status(job), harness.job(job).attempt) == ("assigned", 1)
    harness.run(job)
    assert harness.status(job) == "completed"


def test_a_waiting_job_without_a_deadline_of_its_own_outlives_an_outage() -> None:
    harness = DispatchHarness()
    job, hurried = harness.submit("r1"), harness.submit("r2", deadline_ms=5_000)
    harness.handle(StoreWentAway())
    harness.wait(30_000)
    assert (harness.status(job), harness.status(hurried)) == ("pending", "failed")
    harness.handle(StoreCameBack())
    assert where(harness.offer(a_node("node-a"))) == [(job, 1, "node-a")]


def test_a_submit_that_is_withdrawn_leaves_its_request_and_its_place_in_the_session() -> None:
    harness = DispatchHarness()
    first = harness.submit("r0", session="s")
    for request in ("r1", "r2"):
        harness.submit(request, session="s")
    effects = harness.handle(SubmitsWithdrawn("c1", ("r1", "r2", "never heard of")))
    changes = [effect.change for effect in effects if isinstance(effect, Save)]
    assert changes == [ForgetJob(job_id="boot-3"), ForgetJob(job_id="boot-2")]
    assert list(harness.brain.jobs) == [first]
    again = harness.answer("r2", session="s", utterance_index=2)
    assert (isinstance(again, Accepted), again) == (True, Accepted(job_id="boot-4", utterance_index=2))
    assert harness.answer("r1", session="s", utterance_index=1) == Accepted(job_id="boot-5", utterance_index=1)


def test_a_submit_that_is_withdrawn_after_it_was_assigned_gives_its_slot_back() -> None:
    harness = DispatchHarness()
    harness.offer(a_node("node-a", slots=1))
    job = harness.submit("r1")
    assert orders(harness.handle(SubmitsWithdrawn("c1", ("r1",)))) == [StopRun(job_id=job, attempt=1)]
    harness.report(stopped(job))
    assert (harness.free(), harness.acquired()) == (1, 0)
    assert harness.submit("r1") != job


def test_a_waiting_job_whose_time_was_up_in_an_outage_has_its_time_once_more() -> None:
    harness = DispatchHarness(DispatchRules(pending_timeout_ms=3_000))
    job = harness.submit()
    harness.handle(StoreWentAway())
    harness.wait(3_000)
    harness.handle(StoreCameBack())
    harness.wait(2_999)
    assert harness.status(job) == "pending"
    harness.wait(1)
    assert harness.status(job) == "failed"
